"""Goal: the chart renders only what Kubernetes accepts, documents what it takes, refuses what it
does not, keeps secrets.

Method: helm renders a matrix of values; each object is held against the strict schemas that
kubernetes-validate carries.
"""

import functools
import itertools
import json
import re
import tempfile
import unittest

from tools import CHART, PROGRAM, ROOT, main, missing, need_module, need_program, run

SHARED = {
    "mode": "shared",
    "shared": {
        "mongodb": {"existingSecret": "mongo"},
        "s3": {"bucket": "pictures", "existingSecret": "s3-keys"},
    },
}
TOKEN = {"auth": {"existingSecret": "token"}}
VERSIONS = ["1.25", "1.30", "1.37"]
# Of other projects: checked by hand below, since the schemas know only what Kubernetes itself has.
CUSTOM = {"ServiceMonitor", "ScaledObject"}
HPA = "HorizontalPodAutoscaler"


def merged(*parts):
    out = {}
    for part in parts:
        for key, value in part.items():
            both = isinstance(value, dict) and isinstance(out.get(key), dict)
            out[key] = merged(out[key], value) if both else value
    return out


def render(*parts):
    return render_text(json.dumps(merged(*parts), sort_keys=True))


@functools.cache
def render_text(values):
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        file.write(values)
        file.flush()
        return run(
            need_program("helm"),
            "template",
            "release",
            CHART,
            "--namespace",
            "images",
            "--values",
            file.name,
        )


class Chart(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.yaml = need_module("yaml")
        cls.validate = need_module("kubernetes_validate")
        need_program("helm")
        cls.values = cls.yaml.safe_load((CHART / "values.yaml").read_text())
        cls.schema = json.loads((CHART / "values.schema.json").read_text())

    def objects(self, *parts):
        result = render(*parts)
        self.assertEqual(result.returncode, 0, result.stderr)
        return [one for one in self.yaml.safe_load_all(result.stdout) if one]

    def one(self, kind, *parts):
        found = [one for one in self.objects(*parts) if one["kind"] == kind]
        self.assertTrue(found, f"no {kind}")
        return found[0]

    def pod(self, *parts):
        objects = self.objects(*parts)
        return next(one for one in objects if one["kind"] in ("StatefulSet", "Deployment"))["spec"][
            "template"
        ]

    def config(self, *parts):
        return self.one("ConfigMap", *parts)["data"]["millrace.yaml"]

    def matrix(self):
        modes = [TOKEN, {"auth": {"mode": "none"}}, merged(SHARED, TOKEN)]
        modes += [
            merged(SHARED, TOKEN, {"autoscaling": {"kind": kind}}) for kind in ("hpa", "keda")
        ]
        extras = [
            {},
            {
                "pipelines": {"files": {"gray.yaml": "pipeline: gray\n"}},
                "webhook": {"existingSecret": "hooks"},
            },
            {
                "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
                "networkPolicy": {"from": [], "notifyPorts": []},
            },
            {
                "pipelines": {"existingConfigMap": "mine"},
                "podDisruptionBudget": {"enabled": False},
                "networkPolicy": {"enabled": False},
                "service": {"type": "LoadBalancer", "annotations": {"a": "b"}},
                "imagePullSecrets": [{"name": "pull"}],
                "priorityClassName": "high",
                "podAnnotations": {"a": "b"},
                "nodeSelector": {"disk": "fast"},
                "tolerations": [{"key": "k", "operator": "Exists"}],
                "affinity": {"nodeAffinity": {}},
                "serviceAccount": {"annotations": {"a": "b"}},
                "security": {
                    "seccompProfile": {"type": "Localhost", "localhostProfile": "millrace.json"}
                },
                "embedded": {"storageClass": "fast"},
            },
        ]
        return list(itertools.product(modes, extras))

    def test_lint_is_clean(self):
        result = run("helm", "lint", "--strict", CHART, "--set", "auth.existingSecret=token")
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)

    def test_every_object_is_valid_for_kubernetes(self):
        seen = set(CUSTOM)
        for version, parts in zip(itertools.cycle(VERSIONS), self.matrix()):
            for one in self.objects(*parts):
                text = json.dumps(one, sort_keys=True)
                if one["kind"] not in seen and text not in seen:
                    seen.add(text)
                    self.validate.validate(one, version, strict=True)

    def test_an_object_with_an_unknown_field_is_found(self):
        one = self.one("Service", TOKEN)
        one["spec"]["prots"] = []
        with self.assertRaises(self.validate.ValidationError):
            self.validate.validate(one, "1.30", strict=True)

    def test_names_are_unique_and_references_resolve(self):
        given = {"token", "mongo", "s3-keys", "hooks", "mine", "pull"}
        for parts in self.matrix():
            objects = self.objects(*parts)
            names = [(one["kind"], one["metadata"]["name"]) for one in objects]
            self.assertEqual(len(names), len(set(names)))
            spec = self.pod(*parts)["spec"]
            for volume in spec["volumes"]:
                if "configMap" in volume and volume["configMap"]["name"] not in given:
                    self.assertIn(("ConfigMap", volume["configMap"]["name"]), names)
                if "secret" in volume:
                    self.assertIn(volume["secret"]["secretName"], given)
            claims = {"data"} if "StatefulSet" in dict(names) else set()
            volumes = {volume["name"] for volume in spec["volumes"]} | claims
            mounts = {mount["name"] for mount in spec["containers"][0]["volumeMounts"]}
            self.assertEqual(volumes, mounts)
            self.assertIn(("ServiceAccount", spec["serviceAccountName"]), names)

    def test_pods_are_locked_down(self):
        for parts in self.matrix():
            spec = self.pod(*parts)["spec"]
            self.assertTrue(spec["securityContext"]["runAsNonRoot"])
            self.assertGreater(spec["securityContext"]["runAsUser"], 0)
            self.assertIn(
                spec["securityContext"]["seccompProfile"]["type"], ("RuntimeDefault", "Localhost")
            )
            self.assertFalse(spec["automountServiceAccountToken"])
            self.assertNotIn("shareProcessNamespace", spec)
            for container in spec["containers"]:
                context = container["securityContext"]
                self.assertEqual(context["capabilities"], {"drop": ["ALL"]})
                self.assertTrue(context["readOnlyRootFilesystem"])
                self.assertFalse(context["allowPrivilegeEscalation"])
                self.assertIn("memory", container["resources"]["limits"])

    def test_the_grace_period_is_longer_than_the_drain(self):
        for drain, stop in ((1, 0), (30, 5), (600, 20)):
            pod = self.pod(TOKEN, {"drainSeconds": drain, "preStopSeconds": stop})
            self.assertGreater(pod["spec"]["terminationGracePeriodSeconds"], drain + stop)
            self.assertIn(f"drain: {drain}s\n", self.config(TOKEN, {"drainSeconds": drain}))

    def test_no_secret_is_in_a_config_map(self):
        # Secrets have no place in the values at all: only names of Secret objects do.
        for parts in self.matrix():
            for one in self.objects(*parts):
                self.assertNotEqual(one["kind"], "Secret")
                if one["kind"] == "ConfigMap":
                    self.assertNotRegex(json.dumps(one), r"mongodb(\+srv)?://|AWS_|whsec_|Bearer")
        for bad in (
            {"auth": {"token": "x"}},
            {"config": {"auth": {"token": "env:X"}}},
            {"config": {"store": "mongodb://u:p@h/d"}},
            {"config": {"webhook": {"secret": "whsec_x"}}},
            {"shared": {"mongodb": {"uri": "mongodb://h/d"}}},
            {"shared": {"s3": {"endpoint": "http://u:p@h?x=1"}}},
            {"shared": {"s3": {"secretAccessKey": "x"}}},
        ):
            self.assertNotEqual(render(TOKEN, SHARED, bad).returncode, 0, bad)

    def test_a_change_of_configuration_or_pipelines_rolls_the_pods(self):
        files = lambda text, roll=True: {
            "pipelines": {"files": {"gray.yaml": text}, "rollOnChange": roll}
        }
        annotations = lambda *parts: self.pod(TOKEN, *parts)["metadata"]["annotations"]
        self.assertNotEqual(annotations(files("a")), annotations(files("b")))
        self.assertEqual(annotations(files("a", False)), annotations(files("b", False)))
        self.assertNotEqual(annotations(), annotations({"config": {"retention": "1d"}}))

    def test_embedded_has_one_replica_and_a_volume(self):
        workload = self.one("StatefulSet", TOKEN, {"replicas": 7})
        self.assertEqual(workload["spec"]["replicas"], 1)
        self.assertEqual(workload["spec"]["volumeClaimTemplates"][0]["metadata"]["name"], "data")
        self.assertNotIn("blobs", self.yaml.safe_load(self.config(TOKEN)))

    def test_shared_keeps_nothing_in_the_pod(self):
        config = self.yaml.safe_load(
            self.config(
                SHARED,
                TOKEN,
                {
                    "shared": {
                        "s3": {
                            "prefix": "/a/b/",
                            "endpoint": "http://s3:9000",
                            "pathStyle": True,
                            "publicUrl": "https://cdn/x",
                        }
                    }
                },
            )
        )
        query = "?endpoint=http://s3:9000&region=us-east-1&path_style=true"
        self.assertEqual(config["blobs"], "s3://pictures/a/b/blobs" + query)
        self.assertEqual(config["stores"]["default"]["url"], "s3://pictures/a/b/objects" + query)
        self.assertEqual(config["stores"]["default"]["public_url"], "https://cdn/x")
        environment = {
            one["name"]: one["valueFrom"]["secretKeyRef"]["name"]
            for one in self.pod(SHARED, TOKEN)["spec"]["containers"][0]["env"]
        }
        self.assertEqual(environment["MILLRACE_STORE"], "mongo")
        self.assertEqual(environment["AWS_SECRET_ACCESS_KEY"], "s3-keys")

    def test_the_autoscaler_alone_sets_the_replicas(self):
        for kind in ("hpa", "keda"):
            parts = (
                SHARED,
                TOKEN,
                {"autoscaling": {"kind": kind, "minReplicas": 3, "backlogSeconds": 1.5}},
            )
            self.assertNotIn("replicas", self.one("Deployment", *parts)["spec"])
        hpa = self.one(
            "HorizontalPodAutoscaler",
            SHARED,
            TOKEN,
            {"autoscaling": {"kind": "hpa", "backlogSeconds": 1.5}},
        )
        self.assertEqual(
            hpa["spec"]["metrics"][0]["pods"]["target"],
            {"type": "AverageValue", "averageValue": "1.5"},
        )
        resource = hpa["spec"]["metrics"][1]["resource"]
        self.assertEqual(resource["target"], {"type": "Utilization", "averageUtilization": 50})
        keda = self.one("ScaledObject", *parts)["spec"]
        self.assertEqual(keda["minReplicaCount"], 3)
        self.assertEqual(keda["triggers"][0]["metadata"]["threshold"], "1.5")
        self.assertIn(
            'namespace="images",service="release-millrace"',
            keda["triggers"][0]["metadata"]["query"],
        )
        self.assertEqual(
            keda["advanced"]["horizontalPodAutoscalerConfig"]["behavior"], hpa["spec"]["behavior"]
        )

    def test_the_backlog_alone_may_be_followed(self):
        for kind in ("hpa", "keda"):
            scaling = {"autoscaling": {"kind": kind, "cpuPercent": 0}}
            objects = self.objects(SHARED, TOKEN, scaling)
            spec = next(one["spec"] for one in objects if one["kind"] in ("ScaledObject", HPA))
            self.assertEqual(len(spec["metrics" if kind == "hpa" else "triggers"]), 1)

    def test_prometheus_is_given_the_token(self):
        endpoint = lambda *parts: self.one(
            "ServiceMonitor", {"serviceMonitor": {"enabled": True}}, *parts
        )["spec"]["endpoints"][0]
        self.assertEqual(
            endpoint(TOKEN)["authorization"], {"credentials": {"name": "token", "key": "token"}}
        )
        self.assertNotIn("authorization", endpoint({"auth": {"mode": "none"}}))

    def test_nobody_may_come_in_when_nobody_is_named(self):
        self.assertEqual(
            self.one("NetworkPolicy", TOKEN, {"networkPolicy": {"from": []}})["spec"]["ingress"], []
        )

    def test_bad_values_are_refused(self):
        bad = [
            ({}, "auth.existingSecret"),
            (merged(TOKEN, {"mode": "embeded"}), "mode"),
            (merged(TOKEN, {"replica": 3}), "replica"),
            (merged(TOKEN, {"replicas": 0}), "replicas"),
            (merged(TOKEN, {"drainSeconds": "30s"}), "drainSeconds"),
            (merged(TOKEN, {"config": {"retentoin": "7d"}}), "retentoin"),
            (merged(TOKEN, {"config": {"retention": "7"}}), "retention"),
            (merged(TOKEN, {"config": {"listen": "0.0.0.0:1"}}), "listen"),
            (merged(TOKEN, {"config": {"limits": {"body": "64"}}}), "body"),
            (merged(TOKEN, {"security": {"user": 0}}), "user"),
            (
                merged(TOKEN, {"security": {"seccompProfile": {"type": "Unconfined"}}}),
                "seccompProfile",
            ),
            (merged(TOKEN, {"resources": {"limits": {"memory": "much"}}}), "memory"),
            (merged(TOKEN, {"pipelines": {"files": {"gray.txt": "x"}}}), "gray.txt"),
            (
                merged(
                    TOKEN, {"pipelines": {"files": {"a.yaml": "x"}, "existingConfigMap": "mine"}}
                ),
                "give one",
            ),
            (merged(TOKEN, {"autoscaling": {"kind": "hpa"}}), "autoscaling"),
            (merged(TOKEN, {"webhook": {"existingSecret": "w", "keys": ["a", "b", "c"]}}), "keys"),
            (
                merged(TOKEN, SHARED, {"shared": {"mongodb": {"existingSecret": ""}}}),
                "shared.mongodb.existingSecret",
            ),
            (merged(TOKEN, SHARED, {"shared": {"s3": {"bucket": ""}}}), "shared.s3.bucket"),
            (
                merged(TOKEN, SHARED, {"shared": {"s3": {"existingSecret": ""}}}),
                "shared.s3.existingSecret",
            ),
            (
                merged(
                    TOKEN,
                    SHARED,
                    {"autoscaling": {"kind": "hpa", "minReplicas": 9, "maxReplicas": 3}},
                ),
                "maxReplicas",
            ),
        ]
        for values, named in bad:
            result = render(values)
            self.assertNotEqual(result.returncode, 0, values)
            self.assertIn(named, result.stderr)

    def leaves(self, node, path=""):
        for key, value in node.items():
            name = f"{path}.{key}" if path else key
            if isinstance(value, dict) and value:
                yield from self.leaves(value, name)
            else:
                yield name, value

    def test_every_value_is_documented_with_its_default_and_in_the_schema(self):
        rows = dict(
            re.findall(r"^\| `([^`]+)` \| `([^|]*)` \|", (CHART / "README.md").read_text(), re.M)
        )
        known = dict(self.leaves(self.values))
        for name, value in known.items():
            self.assertIn(name, rows, "a row in charts/millrace/README.md")
            self.assertEqual(self.yaml.safe_load(rows[name]), value, name)
            self.assertTrue(self.in_schema(name), name)
        for name in self.schema_leaves(self.schema):
            if not name.startswith(("config.", "global")) and not any(
                one.startswith(name) for one in known
            ):
                self.assertIn(name, rows, "in the schema, but described nowhere")
        self.assertEqual({name for name in rows if not self.in_schema(name)}, set())

    def schema_leaves(self, node, path=""):
        for key, value in node.get("properties", {}).items():
            name = f"{path}.{key}" if path else key
            yield from self.schema_leaves(value, name) if value.get("properties") else [name]

    def in_schema(self, name):
        node = self.schema
        for part in name.split("."):
            node = node.get("properties", {}).get(part) or node.get("additionalProperties")
            if not node:
                return False
        return True

    def test_config_takes_the_keys_that_the_program_has(self):
        if not PROGRAM.exists():
            missing(f"{PROGRAM}")
        properties = json.loads(run(PROGRAM, "schema", "config").stdout)["properties"]
        program = {key for key, value in properties.items() if not value.get("properties")}
        chart = set(self.schema_leaves(self.schema["properties"]["config"]))
        # What the chart decides itself, what has no place in a pod.
        own = {
            "listen",
            "data",
            "pipelines",
            "steps",
            "store",
            "blobs",
            "blobs.cache",
            "drain",
            "auth.token",
            "auth.mode",
            "webhook.secret",
            "workers.isolation",
        }
        self.assertEqual(program - own, chart)

    def test_the_chart_is_of_this_version(self):
        version = re.search(
            r"project\(millrace VERSION (\S+)", (ROOT / "CMakeLists.txt").read_text()
        )[1]
        self.assertEqual(
            self.yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"], version
        )


if __name__ == "__main__":
    main()
