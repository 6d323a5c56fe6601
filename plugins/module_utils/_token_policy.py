# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The admission policy that lets nobody get more than a mesh identity of a group's ServiceAccount. Pure. Private.

RBAC can say who may request tokens of a ServiceAccount, not for whom the tokens are: whoever brings virtual machines into
the mesh could as well request one that the API server takes. The policy reads the ServiceAccounts from the
WorkloadGroups of the request's namespace, so there is nothing to keep in step with them.
"""

from __future__ import annotations

from ansible_collections.hybridmesh.istio.plugins.module_utils._apply import MANAGED_BY, MANAGER
from ansible_collections.hybridmesh.istio.plugins.module_utils._manifest import Object

NAME = "hybridmesh-istio-vm-tokens"
# Validating admission policies are there from Kubernetes 1.30 on.
API_VERSION = "admissionregistration.k8s.io/v1"
AUDIENCE = "istio-ca"

# As istiod has it: a group without a ServiceAccount has `default`.
_ACCOUNT = (
    "has(params.spec) && has(params.spec.template) && has(params.spec.template.serviceAccount)"
    " && params.spec.template.serviceAccount != '' ? params.spec.template.serviceAccount : 'default'"
)


def policy(max_duration: int) -> Object:
    """The policy.

    Args:
        max_duration: for how long a token may be valid at most (seconds).
    """
    return {
        "apiVersion": API_VERSION,
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": NAME, "labels": {MANAGED_BY: MANAGER}},
        "spec": {
            # Where the policy can't be evaluated, because Istio's kinds are gone or the API server has just started,
            # all tokens of the cluster would be refused, those of its own controllers included.
            "failurePolicy": "Ignore",
            "paramKind": {"apiVersion": "networking.istio.io/v1", "kind": "WorkloadGroup"},
            "matchConstraints": {
                "resourceRules": [
                    {
                        "apiGroups": [""],
                        "apiVersions": ["v1"],
                        "operations": ["CREATE"],
                        "resources": ["serviceaccounts/token"],
                    }
                ]
            },
            # A kubelet requests the tokens of the Pods on its node, and the node authorizer sees to it that it gets
            # no others.
            "matchConditions": [
                {"name": "not-a-kubelet", "expression": "!('system:nodes' in request.userInfo.groups)"}
            ],
            "variables": [{"name": "concerned", "expression": f"request.name == ({_ACCOUNT})"}],
            "validations": [
                {
                    "expression": "!variables.concerned || (has(object.spec.audiences)"
                    f" && object.spec.audiences == ['{AUDIENCE}'])",
                    "messageExpression": "'ServiceAccount ' + request.namespace + '/' + request.name + ' is the identity"
                    " of virtual machines (WorkloadGroup ' + params.metadata.name + '): its tokens must have the audience"
                    f" {AUDIENCE} and no other'",
                    "reason": "Forbidden",
                },
                {
                    "expression": "!variables.concerned || !has(object.spec.expirationSeconds)"
                    f" || object.spec.expirationSeconds <= {max_duration}",
                    "messageExpression": "'ServiceAccount ' + request.namespace + '/' + request.name + ' is the identity"
                    " of virtual machines (WorkloadGroup ' + params.metadata.name + '): its tokens may be valid for"
                    f" {max_duration} s at most (control_plane_token_max_duration)'",
                    "reason": "Forbidden",
                },
            ],
        },
    }


def binding() -> Object:
    """What puts the policy into force: in each namespace, for each WorkloadGroup there."""
    return {
        "apiVersion": API_VERSION,
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": NAME, "labels": {MANAGED_BY: MANAGER}},
        "spec": {
            "policyName": NAME,
            "validationActions": ["Deny"],
            # No namespace: that of the request. No group there, nothing to refuse.
            "paramRef": {"selector": {}, "parameterNotFoundAction": "Allow"},
        },
    }
