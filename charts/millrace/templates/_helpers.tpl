{{- define "millrace.name" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if contains "millrace" .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-millrace" (.Release.Name | trunc 43 | trimSuffix "-") -}}
{{- end -}}
{{- end -}}

{{- define "millrace.selector" -}}
app.kubernetes.io/name: millrace
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "millrace.labels" -}}
{{ include "millrace.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{- define "millrace.pipelinesConfigMap" -}}
{{- if .Values.pipelines.existingConfigMap -}}
{{- .Values.pipelines.existingConfigMap -}}
{{- else if .Values.pipelines.files -}}
{{- include "millrace.name" . }}-pipelines
{{- end -}}
{{- end -}}

{{/* s3://BUCKET/PREFIX?…; the argument is [root, a folder below the prefix]. */}}
{{- define "millrace.s3" -}}
{{- $root := index . 0 -}}
{{- $s3 := $root.Values.shared.s3 -}}
{{- $bucket := required "shared.s3.bucket: the bucket that holds blobs and objects" $s3.bucket -}}
{{- $path := list (trimAll "/" $s3.prefix) (index . 1) | compact | join "/" -}}
{{- $query := list -}}
{{- if $s3.endpoint }}{{ $query = append $query (printf "endpoint=%s" $s3.endpoint) }}{{ end -}}
{{- $query = append $query (printf "region=%s" $s3.region) -}}
{{- if $s3.pathStyle }}{{ $query = append $query "path_style=true" }}{{ end -}}
{{- printf "s3://%s/%s?%s" $bucket $path (join "&" $query) -}}
{{- end -}}

{{/* The program's configuration. No secret is in it: only where the program finds each. */}}
{{- define "millrace.config" -}}
{{- $own := dict "listen" "0.0.0.0:8080" "data" "/var/lib/millrace" "drain" (printf "%ds" (int .Values.drainSeconds)) -}}
{{- $_ := set $own "pipelines" (ternary "/etc/millrace/pipelines" "/usr/share/millrace/pipelines" (ne (include "millrace.pipelinesConfigMap" .) "")) -}}
{{- if eq .Values.auth.mode "none" -}}
{{- $_ := set $own "auth.mode" "none" -}}
{{- else -}}
{{- $_ := set $own "auth.token" "file:/run/secrets/millrace/auth/token" -}}
{{- end -}}
{{- if .Values.webhook.existingSecret -}}
{{- $references := list -}}
{{- range .Values.webhook.keys }}{{ $references = append $references (printf "file:/run/secrets/millrace/webhook/%s" .) }}{{ end -}}
{{- $_ := set $own "webhook.secret" $references -}}
{{- end -}}
{{- if eq .Values.mode "shared" -}}
{{- $_ := set $own "blobs" (include "millrace.s3" (list . "blobs")) -}}
{{- if not .Values.config.stores -}}
{{- $store := dict "url" (include "millrace.s3" (list . "objects")) -}}
{{- if .Values.shared.s3.publicUrl }}{{ $_ := set $store "public_url" .Values.shared.s3.publicUrl }}{{ end -}}
{{- $_ := set $own "stores" (dict "default" $store) -}}
{{- end -}}
{{- end -}}
{{- merge $own .Values.config | toYaml -}}
{{- end -}}

{{- define "millrace.podTemplate" -}}
{{- $shared := eq .Values.mode "shared" -}}
{{- $pipelines := include "millrace.pipelinesConfigMap" . -}}
metadata:
  labels:
    {{- include "millrace.labels" . | nindent 4 }}
  annotations:
    checksum/config: {{ include "millrace.config" . | sha256sum }}
    {{- if and .Values.pipelines.files .Values.pipelines.rollOnChange }}
    checksum/pipelines: {{ .Values.pipelines.files | toJson | sha256sum }}
    {{- end }}
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "millrace.name" . }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ add .Values.preStopSeconds .Values.drainSeconds 15 }}
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    runAsUser: {{ .Values.security.user }}
    runAsGroup: {{ .Values.security.user }}
    fsGroup: {{ .Values.security.user }}
    fsGroupChangePolicy: OnRootMismatch
    seccompProfile:
      {{- toYaml .Values.security.seccompProfile | nindent 6 }}
  containers:
    - name: millrace
      image: "{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}"
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args: [serve, --config, /etc/millrace/config/millrace.yaml]
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities:
          drop: [ALL]
      {{- if $shared }}
      {{- $keys := required "shared.s3.existingSecret: the secret with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" .Values.shared.s3.existingSecret }}
      env:
        - name: MILLRACE_STORE
          valueFrom:
            secretKeyRef:
              name: {{ required "shared.mongodb.existingSecret: the secret with the mongodb:// address" .Values.shared.mongodb.existingSecret }}
              key: {{ .Values.shared.mongodb.key }}
        {{- range list "AWS_ACCESS_KEY_ID" "AWS_SECRET_ACCESS_KEY" "AWS_SESSION_TOKEN" }}
        - name: {{ . }}
          valueFrom:
            secretKeyRef:
              name: {{ $keys }}
              key: {{ . }}
              {{- if eq . "AWS_SESSION_TOKEN" }}
              optional: true
              {{- end }}
        {{- end }}
      {{- end }}
      ports:
        - name: http
          containerPort: 8080
      startupProbe:
        httpGet: { path: /livez, port: http }
        periodSeconds: 2
        failureThreshold: {{ div (add .Values.startupSeconds 1) 2 }}
      livenessProbe:
        httpGet: { path: /livez, port: http }
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 6
      readinessProbe:
        httpGet: { path: /readyz, port: http }
        periodSeconds: 2
        timeoutSeconds: 2
        failureThreshold: 2
      lifecycle:
        preStop:
          exec:
            # Until every proxy has taken this replica out of its list, it still takes jobs.
            command: [sleep, {{ .Values.preStopSeconds | quote }}]
      resources:
        {{- toYaml .Values.resources | nindent 8 }}
      volumeMounts:
        - { name: data, mountPath: /var/lib/millrace }
        - { name: config, mountPath: /etc/millrace/config, readOnly: true }
        {{- if $pipelines }}
        - { name: pipelines, mountPath: /etc/millrace/pipelines, readOnly: true }
        {{- end }}
        {{- if eq .Values.auth.mode "token" }}
        - { name: auth, mountPath: /run/secrets/millrace/auth, readOnly: true }
        {{- end }}
        {{- if .Values.webhook.existingSecret }}
        - { name: webhook, mountPath: /run/secrets/millrace/webhook, readOnly: true }
        {{- end }}
  volumes:
    - name: config
      configMap:
        name: {{ include "millrace.name" . }}
    {{- if $pipelines }}
    - name: pipelines
      configMap:
        name: {{ $pipelines }}
    {{- end }}
    {{- if eq .Values.auth.mode "token" }}
    - name: auth
      secret:
        secretName: {{ required "auth.existingSecret: the secret with the bearer token; or auth.mode: none to let everybody in" .Values.auth.existingSecret }}
        defaultMode: 0440
        items:
          - { key: {{ .Values.auth.key | quote }}, path: token }
    {{- end }}
    {{- if .Values.webhook.existingSecret }}
    - name: webhook
      secret:
        secretName: {{ .Values.webhook.existingSecret }}
        defaultMode: 0440
    {{- end }}
    {{- if $shared }}
    - name: data
      emptyDir:
        sizeLimit: {{ .Values.shared.scratchSize }}
    {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if $shared }}
  topologySpreadConstraints:
    - maxSkew: 1
      topologyKey: kubernetes.io/hostname
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "millrace.selector" . | nindent 10 }}
  {{- end }}
{{- end -}}

{{- define "millrace.scalingBehavior" -}}
scaleUp:
  stabilizationWindowSeconds: 0
  policies:
    - { type: Percent, value: 100, periodSeconds: 30 }
    - { type: Pods, value: 4, periodSeconds: 30 }
scaleDown:
  stabilizationWindowSeconds: {{ .Values.autoscaling.scaleDownStabilizationSeconds }}
  policies:
    - { type: Percent, value: {{ .Values.autoscaling.scaleDownPercent }}, periodSeconds: 60 }
{{- end -}}
