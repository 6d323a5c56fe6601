# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stands in for the get-pip script that ansible-test would download from a server of its own.

Python brings a pip (ensurepip); the version that ansible-test asks for is then installed with it, from PyPI.
"""

from __future__ import annotations

import subprocess
import sys

if __name__ == "__main__":
    # get-pip's own options, which say what not to install beside pip.
    arguments = [item for item in sys.argv[1:] if item not in ("--no-setuptools", "--no-wheel")]
    subprocess.run([sys.executable, "-m", "ensurepip"], check=True, stdout=subprocess.DEVNULL)
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", *arguments], check=True)
