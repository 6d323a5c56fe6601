#!/usr/bin/python
# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's keys and certificates."""

from __future__ import annotations

DOCUMENTATION = r"""
module: lab_pki
short_description: The lab's keys and certificates
version_added: 0.1.0
description:
  - Makes a certificate authority, certificates of it, kubeconfigs that carry them, bare key pairs and ssh keys, in one folder.
  - Makes only what is missing, or is not what is declared any more, or expires within 30 days. No key ever leaves the folder in a result.
requirements:
  - cryptography (comes with ansible-core)
options:
  path:
    description: The folder. Belongs to root alone. O(path)/ca.crt and O(path)/ca.key are the authority.
    type: path
    required: true
  certificates:
    description: Certificates to make, as O(path)/NAME.crt and O(path)/NAME.key.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the files.
        type: str
        required: true
      common_name:
        description: The subject's common name, which is the user's name to Kubernetes.
        type: str
        required: true
      organization:
        description: The subject's organization, which is the user's group to Kubernetes.
        type: str
      names:
        description: DNS names of the server that it is for.
        type: list
        elements: str
        default: []
      addresses:
        description: IP addresses of the server that it is for.
        type: list
        elements: str
        default: []
      kubeconfig_server:
        description: URL of an API server. Makes O(path)/NAME.kubeconfig, too, with key and certificates in it.
        type: str
  key_pairs:
    description: Key pairs without a certificate, as O(path)/NAME.key and O(path)/NAME.pub.
    type: list
    elements: str
    default: []
  ssh_keys:
    description: Key pairs in OpenSSH's format, as O(path)/ssh/NAME and O(path)/ssh/NAME.pub.
    type: list
    elements: str
    default: []
  known_hosts:
    description: Address -> name of the ssh key (see O(ssh_keys)) of the host there, written as O(path)/ssh/known_hosts.
    type: dict
    default: {}
author:
  - hybridmesh.istio contributors (@hybridmesh)
"""

EXAMPLES = r"""
- name: Keys | Make them
  lab_pki:
    path: /var/lib/hybridmesh-lab/pki
    certificates:
      - name: admin
        common_name: lab-admin
        organization: system:masters
        kubeconfig_server: https://10.88.0.10:6443
    ssh_keys: [id, vm1]
    known_hosts:
      10.88.0.21: vm1
"""

RETURN = r"""
made:
  description: The files that were written.
  returned: always
  type: list
  elements: str
"""

import base64  # noqa: E402
import datetime  # noqa: E402
import ipaddress  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

from ansible.module_utils.basic import AnsibleModule  # noqa: E402
from cryptography import x509  # noqa: E402
from cryptography.exceptions import InvalidSignature  # noqa: E402
from cryptography.hazmat.primitives import hashes, serialization  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import ec, ed25519  # noqa: E402
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID  # noqa: E402

LIFETIME = datetime.timedelta(days=365)
RENEW_BEFORE = datetime.timedelta(days=30)
PEM = serialization.Encoding.PEM


class Pki:
    """The folder of keys, and what was made in it this time."""

    def __init__(self, path: Path, check: bool) -> None:
        self.path = path
        self.check = check
        self.made: list[str] = []
        self.now = datetime.datetime.now(datetime.UTC)

    def write(self, name: str, content: bytes, mode: int = 0o600) -> None:
        """Write a file atomically, with its mode from the first byte on."""
        self.made.append(name)
        if self.check:
            return
        place = self.path / name
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        beside = place.with_name(f".{place.name}")
        beside.unlink(missing_ok=True)
        with open(beside, "wb", opener=lambda file, flags: os.open(file, flags, mode)) as stream:
            stream.write(content)
        beside.replace(place)

    def key(self, name: str) -> ec.EllipticCurvePrivateKey:
        """The private key of that name, made where there is none."""
        try:
            found = serialization.load_pem_private_key((self.path / f"{name}.key").read_bytes(), None)
            if isinstance(found, ec.EllipticCurvePrivateKey):
                return found
        except (FileNotFoundError, ValueError):
            pass
        made = ec.generate_private_key(ec.SECP256R1())
        self.write(f"{name}.key", private_pem(made))
        return made

    def certificate(self, name: str) -> x509.Certificate | None:
        """The certificate of that name, or None where there is none that lasts."""
        try:
            found = x509.load_pem_x509_certificate((self.path / f"{name}.crt").read_bytes())
        except (FileNotFoundError, ValueError):
            return None
        return found if found.not_valid_after_utc - self.now > RENEW_BEFORE else None

    def authority(self) -> None:
        """Make the authority that the others are signed by."""
        self.ca_key = self.key("ca")
        found = self.certificate("ca")
        if found is None or public_der(found.public_key()) != public_der(self.ca_key.public_key()):
            name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hybridmesh lab")])
            builder = self.builder(name, name, self.ca_key)
            builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            found = builder.add_extension(key_usage(authority=True), critical=True).sign(self.ca_key, hashes.SHA256())
            self.write("ca.crt", found.public_bytes(PEM), 0o644)
        self.ca = found

    def builder(
        self, subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
    ) -> x509.CertificateBuilder:
        """A certificate's frame. An hour of the past allows for clocks that differ."""
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
        builder = builder.serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(self.now - datetime.timedelta(hours=1)).not_valid_after(self.now + LIFETIME)
        identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        return builder.add_extension(identifier, critical=False)

    def issue(self, wanted: dict[str, Any]) -> None:
        """Make one certificate, unless it is there as declared."""
        name = wanted["name"]
        key = self.key(name)
        parts = [x509.NameAttribute(NameOID.COMMON_NAME, wanted["common_name"])]
        if wanted["organization"]:
            parts.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, wanted["organization"]))
        subject = x509.Name(parts)
        alternatives: list[x509.GeneralName] = [x509.DNSName(item) for item in wanted["names"]]
        alternatives += [x509.IPAddress(ipaddress.ip_address(item)) for item in wanted["addresses"]]
        found = self.certificate(name)
        if found is None or not self.is_as_declared(found, key, subject, alternatives):
            usages = [ExtendedKeyUsageOID.CLIENT_AUTH] + ([ExtendedKeyUsageOID.SERVER_AUTH] if alternatives else [])
            builder = self.builder(subject, self.ca.subject, key)
            builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            builder = builder.add_extension(key_usage(authority=False), critical=True)
            builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.ca_key.public_key())
            builder = builder.add_extension(issuer, critical=False)
            if alternatives:
                builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
            found = builder.sign(self.ca_key, hashes.SHA256())
            self.write(f"{name}.crt", found.public_bytes(PEM), 0o644)
        if wanted["kubeconfig_server"]:
            content = kubeconfig(wanted, self.ca, found, key)
            self.keep(f"{name}.kubeconfig", content)

    def is_as_declared(
        self,
        found: x509.Certificate,
        key: ec.EllipticCurvePrivateKey,
        subject: x509.Name,
        alternatives: list[x509.GeneralName],
    ) -> bool:
        """Whether a certificate still says what it should, for this key, by this authority."""
        try:
            found.verify_directly_issued_by(self.ca)
            names = list(found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
        except x509.ExtensionNotFound:
            names = []
        except (InvalidSignature, ValueError):
            return False
        return (
            found.subject == subject
            and names == alternatives
            and public_der(found.public_key()) == public_der(key.public_key())
        )

    def keep(self, name: str, content: bytes) -> None:
        """Write a file unless it has that content."""
        place = self.path / name
        if not place.exists() or place.read_bytes() != content:
            self.write(name, content)

    def key_pair(self, name: str) -> None:
        """A key pair without a certificate."""
        self.keep(
            f"{name}.pub",
            self.key(name).public_key().public_bytes(PEM, serialization.PublicFormat.SubjectPublicKeyInfo),
        )

    def ssh_key(self, name: str) -> str:
        """A key pair in OpenSSH's format; returns the public half."""
        place = self.path / "ssh" / name
        if not place.exists() or not place.with_name(f"{name}.pub").exists():
            made = ed25519.Ed25519PrivateKey.generate()
            form = serialization.PrivateFormat.OpenSSH
            public = made.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
            self.write(f"ssh/{name}", made.private_bytes(PEM, form, serialization.NoEncryption()))
            self.write(f"ssh/{name}.pub", public + b"\n", 0o644)
            return public.decode()
        return place.with_name(f"{name}.pub").read_text(encoding="ascii").strip()


def private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """A private key as a file has it."""
    return key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def public_der(key: Any) -> bytes:
    """A public key, comparable."""
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def key_usage(authority: bool) -> x509.KeyUsage:
    """An authority signs certificates; all others sign handshakes."""
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def kubeconfig(
    wanted: dict[str, Any], authority: x509.Certificate, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey
) -> bytes:
    """A kubeconfig with everything in it (JSON is YAML)."""

    def inline(pem: bytes) -> str:
        return base64.b64encode(pem).decode()

    user = {
        "client-certificate-data": inline(certificate.public_bytes(PEM)),
        "client-key-data": inline(private_pem(key)),
    }
    cluster = {
        "server": wanted["kubeconfig_server"],
        "certificate-authority-data": inline(authority.public_bytes(PEM)),
    }
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "lab", "cluster": cluster}],
        "users": [{"name": wanted["common_name"], "user": user}],
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": wanted["common_name"]}}],
        "current-context": "lab",
    }
    return (json.dumps(content, indent=2) + "\n").encode()


def main() -> None:
    text = {"type": "str"}
    texts = {"type": "list", "elements": "str", "default": []}
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "certificates": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "name": {"type": "str", "required": True},
                    "common_name": {"type": "str", "required": True},
                    "organization": text,
                    "names": texts,
                    "addresses": texts,
                    "kubeconfig_server": text,
                },
            },
            "key_pairs": {**texts, "no_log": False},
            "ssh_keys": {**texts, "no_log": False},
            "known_hosts": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    pki = Pki(Path(module.params["path"]), module.check_mode)
    try:
        pki.authority()
        for wanted in module.params["certificates"]:
            pki.issue(wanted)
        for name in module.params["key_pairs"]:
            pki.key_pair(name)
        public = {name: pki.ssh_key(name) for name in module.params["ssh_keys"]}
        lines = [f"{address} {public[name]}\n" for address, name in sorted(module.params["known_hosts"].items())]
        pki.keep("ssh/known_hosts", "".join(lines).encode())
    except OSError as error:
        module.fail_json(msg=f"the lab's keys could not be made: {error}")
    module.exit_json(changed=bool(pki.made), made=pki.made)


if __name__ == "__main__":
    main()
