#!/usr/bin/python
# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Package, files and start of an Istio sidecar on its virtual machine, in one round trip."""

from __future__ import annotations

DOCUMENTATION = r"""
module: sidecar
short_description: Package, files and start of an Istio sidecar on a virtual machine
version_added: 0.1.0
description:
  - Does all that a machine needs to become part of the mesh, in one round trip, as far as it is asked for, in this order. Installs
    the O(package), writes the files and the O(token), and makes the O(start) on trial.
  - All files are replaced together, each by a rename, so that a full disk or a killed run leaves the old ones whole. Lines in
    C(/etc/hosts) are kept between markers; nothing else in that file is touched.
  - Says which files changed and what that calls for. What a run that was cut off left undone is said again by the next.
  - Without O(start) nothing is started or stopped, so a sidecar that runs goes on with what it has.
  - The token is only taken over a connection that hands it on without a file; see O(token).
author:
  - hybridmesh.istio contributors (@hybridmesh)
extends_documentation_fragment:
  - hybridmesh.istio.attributes
options:
  files:
    description:
      - The files of the machine's WorkloadGroup by name, V(cluster.env), V(mesh.yaml), V(root-cert.pem) and V(hosts),
        as the lookup P(hybridmesh.istio.sidecar_bootstrap#lookup) returns them.
    type: dict
  address:
    description: The address that the machine is known by in the mesh. Required with O(files), unless O(image) is set.
    type: str
  image:
    description: Whether an image is made of this machine, so that no address is written.
    type: bool
    default: false
  environment:
    description: Further variables for the sidecar's unit on this machine.
    type: dict
    default: {}
  concurrency:
    description: Number of Envoy's worker threads. Without it the group's setting counts, or one for each CPU is used.
    type: int
  capture:
    description: Which traffic the sidecar captures. Required with O(files).
    type: dict
    suboptions:
      inbound_ports:
        description:
          - Ports whose inbound traffic is captured; V(*) stands for all, an empty list for none.
          - Those that the group's C(cluster.env) names are captured where it is left out.
        type: list
        elements: str
      management_ports:
        description: Ports that are never captured inbound, whatever else is said.
        type: list
        elements: int
        default: [22]
      exclude_inbound_ports:
        description: Further ports that are not captured inbound.
        type: list
        elements: int
        default: []
      outbound_ranges:
        description: Networks to which outbound traffic is captured; V(*) stands for all.
        type: list
        elements: str
        default: ['*']
      exclude_outbound_ranges:
        description: Networks to which outbound traffic is not captured. The clouds' metadata address always is one.
        type: list
        elements: str
        default: []
      exclude_outbound_ports:
        description: Ports to which outbound traffic is not captured.
        type: list
        elements: int
        default: []
      exclude_interfaces:
        description: Network interfaces whose traffic is not captured at all.
        type: list
        elements: str
        default: []
      environment:
        description: Further variables for C(istio-iptables); they win over all of the above.
        type: dict
        default: {}
  own_files:
    description: Further files, such as units and scripts. They belong to root.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Where it goes.
        type: path
        required: true
      content:
        description: What it holds.
        type: str
        required: true
      mode:
        description: Its permissions, octal.
        type: str
        default: '0644'
      effects:
        description: What a change of it calls for.
        type: list
        elements: str
        choices: [restart, capture, reload]
        default: []
  package:
    description:
      - The package. It is fetched, its checksum verified, and it is installed over whatever version is there. Envoy's bootstrap
        template becomes the new package's (an edited one is kept as C(.dpkg-old)), C(sidecar.env) stays the user's.
      - It is installed whenever it is given; M(hybridmesh.istio.sidecar_info) shows whether that is needed.
    type: dict
    suboptions:
      source:
        description: URL of the package, or its path on the machine. Without it only the hold is seen to.
        type: str
      checksum:
        description: SHA-256 of the package.
        type: str
      checksum_url:
        description: Where it is published, for a package whose C(checksum) is not given.
        type: str
      record:
        description: What to note as the package's origin. By default C(source).
        type: str
      istiod_version:
        description: Version of istiod, which refuses a package that is newer than it or too old for it.
        type: str
      way_back_source:
        description: URL of the package that is installed, for a way back where no copy of it is on the machine.
        type: str
      hold:
        description: Whether other upgrades of the machine leave the package alone (C(apt-mark hold)).
        type: bool
        default: true
      keep:
        description:
          - Whether the package file stays in C(/var/cache/hybridmesh) after it is installed, so that an upgrade has a way back
            which needs no network.
        type: bool
        default: true
  way_back:
    description:
      - Whether the present package and files are kept, for M(hybridmesh.istio.sidecar_way_back) to go back to, unless they were kept
        already. Where the package can't be had any more, nothing is installed.
    type: bool
    default: false
  start:
    description:
      - How the sidecar and its capture are started, under the eye of a dead man's timer, which undoes it unless
        M(hybridmesh.istio.sidecar_proof) confirms it in time.
    type: dict
    suboptions:
      what:
        description:
          - V(restart) the sidecar, with V(discard) without the certificate that it has; or make only the V(capture) anew, and the
            sidecar goes on.
        type: str
        choices: [restart, capture, discard]
        default: restart
      ready_timeout:
        description: Seconds that the sidecar has to become ready.
        type: int
        default: 60
      confirm_timeout:
        description: Seconds after that until the timer undoes it.
        type: int
        default: 60
  token:
    description:
      - The service account token to put in place, for its owner only; with O(files), together with them.
      - Refused unless the connection pipelines, since Ansible would write the token to temporary files otherwise.
    type: str
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details: The token is never shown.
  idempotent:
    support: partial
    details: O(package) and O(start) are done whenever they are given; M(hybridmesh.istio.sidecar_info) shows whether they are needed.
seealso:
  - module: hybridmesh.istio.sidecar_info
  - module: hybridmesh.istio.sidecar_proof
  - module: hybridmesh.istio.sidecar_way_back
  - plugin: hybridmesh.istio.sidecar_bootstrap
    plugin_type: lookup
"""

EXAMPLES = r"""
- name: The group's files, with this machine's address
  hybridmesh.istio.sidecar:
    files: "{{ lookup('hybridmesh.istio.sidecar_bootstrap', 'shop/billing') }}"
    address: 192.0.2.21
    capture:
      exclude_outbound_ranges: [198.51.100.0/24]

- name: The package of a release
  hybridmesh.istio.sidecar:
    package:
      source: https://storage.googleapis.com/istio-release/releases/1.31.0/deb/istio-sidecar.deb
      checksum_url: https://storage.googleapis.com/istio-release/releases/1.31.0/deb/istio-sidecar.deb.sha256
      istiod_version: 1.31.0

- name: A token, where one is needed
  hybridmesh.istio.sidecar:
    token: "{{ lookup('hybridmesh.istio.sidecar_token', 'shop/billing') }}"
  no_log: true
  vars:
    ansible_pipelining: true
"""

RETURN = r"""
version:
  description: Version of the package that was installed.
  returned: when one was
  type: str
start:
  description: What came of O(start), with C(rc), 0 where the sidecar is ready and the capture on, and C(stderr), which says why not.
  returned: with O(start), not in check mode
  type: dict
files:
  description: Paths that were changed, or would be.
  returned: always
  type: list
  elements: str
effects:
  description:
    - What is still to be done, now or from a run that was cut off. V(restart) the sidecar, apply the V(capture) anew,
      V(reload) systemd.
  returned: always
  type: list
  elements: str
reasons:
  description: Which path calls for which effect, as text.
  returned: always
  type: list
  elements: str
would:
  description: One line for each change, as C(would create PATH); in check mode only.
  returned: in check mode
  type: list
  elements: str
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.hybridmesh.istio.plugins.module_utils import (
    _atomic,
    _package,
    _package_install,
    _sidecar_run,
    _vm_config,
    _vm_facts,
    _vm_files,
    _vm_options,
)

TOKEN_FOLDER = _vm_files.FOLDERS[-1]


def token_changes(token: str | None) -> list[_atomic.Change]:
    """What there is to do so that the token lies in its place.

    Raises:
        ValueError: it is empty.
    """
    if token is None:
        return []
    if not token.strip():
        raise ValueError("token: it is empty; the lookup sidecar_token makes none in check mode")
    changes = [
        _atomic.compare_folder(TOKEN_FOLDER.path, TOKEN_FOLDER.owner, TOKEN_FOLDER.mode),
        _atomic.compare_file(_vm_files.TOKEN, token, _vm_files.USER, 0o600),
    ]
    return [change for change in changes if change is not None]


def describe(change: _atomic.Change) -> dict[str, t.Any]:
    """One change as Ansible shows it with --diff."""
    header = f"{change.path} ({change.owner}, {change.mode:04o})"
    if change.after is None or change.path == _vm_files.TOKEN:
        return {"prepared": f"{header}: {change.what}\n"}
    return {
        "before_header": header,
        "after_header": header,
        "before": change.before or "",
        "after": change.after,
    }


def configure(module: AnsibleModule) -> dict[str, t.Any]:
    """Compares, writes unless in check mode, and says what there is to tell."""
    token = token_changes(module.params["token"])
    found = _vm_config.compare(module.params)
    known = {change.path for change in found.changes}
    changes = [*found.changes, *(change for change in token if change.path not in known)]
    if found.effects and (found.recorded or "").split() != found.effects:
        # Written first: should this run end here, the next one knows what is left to do.
        text = "\n".join(found.effects) + "\n"
        note = _atomic.Change(_vm_files.PENDING, found.recorded, text, 0o644, "root")
        if not module.check_mode:
            _atomic.apply([note])
    if changes and not module.check_mode:
        if module.params["way_back"] and _package.remembered() is None:
            _package.remember(None, None, None)
        _atomic.apply(changes)
    result: dict[str, t.Any] = {
        "changed": bool(changes),
        "files": [change.path for change in changes],
        "effects": found.effects,
        "reasons": found.told,
        "diff": [describe(change) for change in changes],
    }
    if module.check_mode:
        result["would"] = [f"would {change.what} {change.path}" for change in changes]
    return result


def install(module: AnsibleModule) -> dict[str, t.Any]:
    """Installs the package, unless in check mode."""
    params = module.params
    if module.check_mode:
        return {"changed": True}
    # What is wrong with the files is told before anything is changed.
    _vm_config.compare(params)
    dpkg = _package.Dpkg(_sidecar_run.commands(module))
    installed = _vm_facts.package(_sidecar_run.asking(module))
    version = _package_install.install(params["package"], params["way_back"], dpkg, installed)
    return {"changed": True, **({"version": version} if version else {})}


def start(module: AnsibleModule) -> dict[str, t.Any]:
    """Starts it on trial, unless in check mode."""
    asked = module.params["start"]
    if module.check_mode:
        return {"changed": True}
    code, _out, err = _sidecar_run.commands(module)(
        [_vm_files.CAPTURE_SCRIPT, "trial", str(asked["ready_timeout"]), str(asked["confirm_timeout"]), asked["what"]]
    )
    return {"changed": True, "start": {"rc": code, "stderr": err}}


def main() -> None:
    """Runs the module."""
    module = AnsibleModule(
        argument_spec=dict(
            _vm_options.argument_spec(),
            package={
                "type": "dict",
                "options": {
                    "source": {"type": "str"},
                    "checksum": {"type": "str"},
                    "checksum_url": {"type": "str"},
                    "record": {"type": "str"},
                    "istiod_version": {"type": "str"},
                    "way_back_source": {"type": "str"},
                    "hold": {"type": "bool", "default": True},
                    "keep": {"type": "bool", "default": True},
                },
            },
            way_back={"type": "bool", "default": False},
            token={"type": "str", "no_log": True},
            start={
                "type": "dict",
                "options": {
                    "what": {"type": "str", "choices": ["restart", "capture", "discard"], "default": "restart"},
                    "ready_timeout": {"type": "int", "default": 60},
                    "confirm_timeout": {"type": "int", "default": 60},
                },
            },
        ),
        required_by={"files": ["capture"]},
        supports_check_mode=True,
    )
    if module.params["files"] and not module.params["address"] and not module.params["image"]:
        module.fail_json(msg="missing parameter(s) required by 'files': address")
    result: dict[str, t.Any] = {}
    changed = False
    try:
        with _sidecar_run.told_errors(module):
            for step, wanted in (
                (install, module.params["package"]),
                (configure, True),
                (start, module.params["start"]),
            ):
                if wanted:
                    result.update(step(module))
                    changed = changed or result["changed"]
    except KeyError as error:
        module.fail_json(msg=f"files: {error.args[0]} is missing; give all that the lookup sidecar_bootstrap returns")
    except ValueError as error:
        module.fail_json(msg=str(error))
    # As sidecar_info: not the files of thousands of machines.
    told = {name: value for name, value in module.params.items() if name not in ("files", "own_files", "token")}
    module.exit_json(**dict(result, changed=changed, invocation={"module_args": told}))


if __name__ == "__main__":
    main()
