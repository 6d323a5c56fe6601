# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kubernetes objects as data: what an installation consists of, and whether two states differ. Pure. Private.

The labels are those that `istioctl install` puts on each object, and `istioctl manifest generate` leaves out.
"""

from __future__ import annotations

import copy
import dataclasses
import typing as t

try:
    import yaml

    # The C parser is 20 times as fast, and Istio's definitions are a megabyte.
    _Loader: t.Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    _Dumper: t.Any = type("_Dumper", (getattr(yaml, "CSafeDumper", yaml.SafeDumper),), {})
    # What is of several lines is written as such, or its diff can't be read.
    _Dumper.add_representer(
        str,
        lambda dumper, text: dumper.represent_scalar(
            "tag:yaml.org,2002:str", text, style="|" if "\n" in text else None
        ),
    )
except ImportError:  # _connection reports it, with what to do
    pass

Object = t.Dict[str, t.Any]

OWNER = "install.operator.istio.io/owning-resource"
OWNER_NAMESPACE = "install.operator.istio.io/owning-resource-namespace"
NOT_PRUNED = "install.operator.istio.io/owning-resource-not-pruned"
COMPONENT = "operator.istio.io/component"
VERSION = "operator.istio.io/version"
TAG = "istio.io/tag"

WEBHOOK_KINDS: tuple[tuple[str, str], ...] = (
    ("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration"),
    ("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration"),
)

# The kinds that an installation may consist of and that can be removed with it; never custom resource definitions,
# whose removal would take every object of that kind along.
REMOVABLE_KINDS: tuple[tuple[str, str], ...] = (
    *WEBHOOK_KINDS,
    ("rbac.authorization.k8s.io/v1", "ClusterRole"),
    ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"),
    ("rbac.authorization.k8s.io/v1", "Role"),
    ("rbac.authorization.k8s.io/v1", "RoleBinding"),
    ("apps/v1", "Deployment"),
    ("apps/v1", "DaemonSet"),
    ("v1", "Service"),
    ("v1", "ConfigMap"),
    ("v1", "ServiceAccount"),
    ("policy/v1", "PodDisruptionBudget"),
    ("autoscaling/v2", "HorizontalPodAutoscaler"),
    ("networking.k8s.io/v1", "NetworkPolicy"),
)


@dataclasses.dataclass(frozen=True)
class Ref:
    """Which object."""

    api_version: str
    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return "{} {}".format(self.kind, f"{self.namespace}/{self.name}" if self.namespace else self.name)


@dataclasses.dataclass
class Change:
    """What would be done, or was done, to one object.

    Attributes:
        ref: the object.
        action: `create`, `update`, `delete` or `none`.
        before: as it is; None where it is not there.
        after: as it would be; None where it would be gone.
    """

    ref: Ref
    action: str
    before: Object | None = None
    after: Object | None = None


def ref(item: t.Mapping[str, t.Any]) -> Ref:
    """Which object this is."""
    metadata = item.get("metadata") or {}
    return Ref(
        str(item.get("apiVersion", "")),
        str(item.get("kind", "")),
        str(metadata.get("namespace") or ""),
        str(metadata.get("name") or ""),
    )


def labels(item: t.Mapping[str, t.Any]) -> dict[str, str]:
    """The object's labels."""
    return (item.get("metadata") or {}).get("labels") or {}


def parse(text: str) -> list[Object]:
    """The objects of a manifest of several documents."""
    return [document for document in yaml.load_all(text, Loader=_Loader) if document]


def with_owner(item: Object, name: str, namespace: str, revision: str, version: str) -> Object:
    """The object with the labels that `istioctl install` adds to what `istioctl manifest generate` prints."""
    result: Object = copy.deepcopy(item)
    own = result.setdefault("metadata", {}).setdefault("labels", {})
    own.update(
        {
            "operator.istio.io/managed": "Reconcile",
            VERSION: version,
            OWNER: name,
            OWNER_NAMESPACE: namespace,
            "istio.io/rev": revision or "default",
        }
    )
    return result


def selector(name: str, namespace: str) -> str:
    """The label selector for everything that istioctl installed under that name."""
    return f"{OWNER}={name},{OWNER_NAMESPACE}={namespace},{COMPONENT}"


def leftovers(owned: t.Iterable[Object], declared: t.Iterable[Object]) -> list[Object]:
    """What carries the installation's labels and is no longer part of it."""
    wanted = {(item.kind, item.namespace, item.name) for item in map(ref, declared)}
    result = []
    for item in owned:
        own = ref(item)
        if labels(item).get(NOT_PRUNED) == "true" or own.kind == "CustomResourceDefinition":
            continue
        if (own.kind, own.namespace, own.name) not in wanted:
            result.append(item)
    return result


def tag_webhook_missing(declared: t.Iterable[Object], tags: t.Iterable[Object], revision: str, spec: Object) -> bool:
    """Whether the webhooks of the default tag are missing, which istioctl would make.

    They are not part of `istioctl manifest generate`: istioctl makes them after all else, for the default revision.
    """
    own_webhooks = ((spec.get("values") or {}).get("global") or {}).get("operatorManageWebhooks")
    if revision or own_webhooks or not any(ref(item).kind == "MutatingWebhookConfiguration" for item in declared):
        return False
    return not {ref(item).kind for item in tags} >= {kind for _api_version, kind in WEBHOOK_KINDS}


def normalised(item: Object | None) -> Object | None:
    """The object without what only the API server writes."""
    if item is None:
        return None
    result: Object = {key: value for key, value in item.items() if key != "status"}
    metadata = dict(result.get("metadata") or {})
    for key in ("managedFields", "resourceVersion", "uid", "creationTimestamp", "generation", "selfLink"):
        metadata.pop(key, None)
    annotations = {
        key: value
        for key, value in (metadata.pop("annotations", None) or {}).items()
        if key not in ("deployment.kubernetes.io/revision", "kubectl.kubernetes.io/last-applied-configuration")
    }
    if annotations:
        metadata["annotations"] = annotations
    result["metadata"] = metadata
    return result


def without_others_part(item: Object, other: Object) -> Object:
    """The object without what istiod and istioctl decide by themselves, for a comparison with its `other` state.

    istioctl says of every object which component it belongs to, also where its chart does not. istiod writes its CA
    into every webhook and closes the validating ones once it is ready; istioctl deactivates the injector's webhooks
    where it has made a default tag. None of this is a difference to what was asked for.
    """
    if COMPONENT in labels(item) and COMPONENT not in labels(other):
        kept = {key: value for key, value in labels(item).items() if key != COMPONENT}
        item = dict(item, metadata=dict(item["metadata"], labels=kept))
    if not str(item.get("kind", "")).endswith("WebhookConfiguration"):
        return item
    inactive = {
        hook.get("name") for state in (item, other) for hook in state.get("webhooks") or [] if is_inactive(hook)
    }
    hooks = []
    for hook in item.get("webhooks") or []:
        ignored = {"clientConfig"}
        if item["kind"] == "ValidatingWebhookConfiguration":
            ignored.add("failurePolicy")
        if hook.get("name") in inactive:
            ignored |= {"namespaceSelector", "objectSelector"}
        client = {key: value for key, value in (hook.get("clientConfig") or {}).items() if key != "caBundle"}
        hooks.append(dict({key: value for key, value in hook.items() if key not in ignored}, clientConfig=client))
    return dict(item, webhooks=hooks)


def is_inactive(hook: t.Mapping[str, t.Any]) -> bool:
    """Whether istioctl has switched a webhook off, by a selector that matches nothing."""
    return "istio.io/deactivated" in ((hook.get("namespaceSelector") or {}).get("matchLabels") or {})


def compare(before: Object | None, after: Object | None, item: Ref) -> Change:
    """The change that leads from one state of an object to another."""
    old, new = normalised(before), normalised(after)
    if old is not None and new is not None:
        old, new = without_others_part(old, new), without_others_part(new, old)
    if old is None:
        action = "none" if new is None else "create"
    elif new is None:
        action = "delete"
    else:
        action = "none" if old == new else "update"
    return Change(item, action, old, new)


def diff(changes: t.Iterable[Change]) -> list[dict[str, str]]:
    """The changes as Ansible shows them, one entry for each object."""
    return [
        {
            "before_header": str(change.ref),
            "after_header": str(change.ref),
            "before": _text(change.before, change),
            "after": _text(change.after, change),
        }
        for change in changes
        if change.action != "none"
    ]


def _text(item: Object | None, change: Change) -> str:
    if item is None:
        return ""
    if change.ref.kind == "Secret":
        item = dict(item)
        for key in ("data", "stringData"):
            if key in item:
                item[key] = dict.fromkeys(item[key] or {}, "(hidden)")
    if change.ref.kind == "CustomResourceDefinition" and change.action != "update":
        # Thousands of lines of schema that nobody reads when all of them are new.
        versions = ", ".join(version.get("name", "") for version in item.get("spec", {}).get("versions", []))
        item = dict(item, spec=f"(schema of {versions}, not shown)")
    return str(yaml.dump(item, Dumper=_Dumper, default_flow_style=False, sort_keys=True, width=160))


def summary(changes: t.Iterable[Change], would: bool) -> list[str]:
    """One line for each object that changed, or that would."""
    words = {
        "create": ("created", "would create"),
        "update": ("changed", "would change"),
        "delete": ("removed", "would remove"),
    }
    return [f"{words[change.action][would]} {change.ref}" for change in changes if change.action != "none"]


def told(changes: t.Iterable[Change]) -> list[dict[str, str]]:
    """The changes as a module returns them."""
    return [
        {
            "kind": change.ref.kind,
            "namespace": change.ref.namespace,
            "name": change.ref.name,
            "action": change.action,
        }
        for change in changes
        if change.action != "none"
    ]


def differences(change: Change) -> list[str]:
    """Where two states of an object differ, as `path: before -> after`, outermost first."""
    found: list[str] = []

    def walk(path: str, before: t.Any, after: t.Any) -> None:
        if before == after:
            return
        if isinstance(before, dict) and isinstance(after, dict):
            for key in sorted({*before, *after}):
                walk(f"{path}.{key}" if path else str(key), before.get(key), after.get(key))
        else:
            found.append(f"{path}: {before!r} -> {after!r}")

    walk("", change.before or {}, change.after or {})
    return found
