# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tokens by which virtual machines get their first certificates. Private to the collection."""

from __future__ import annotations

import concurrent.futures
import datetime
import time
import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils._connection import Cluster
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError

TOKEN_AUDIENCE = "istio-ca"
# More connections make the API server's signing no faster.
TOKEN_THREADS = 8
# What Kubernetes itself demands of a token (seconds).
MINIMUM_DURATION = 600


class Token(t.NamedTuple):
    """A ServiceAccount's token and when it ends (seconds since 1970)."""

    token: str
    expires: float


def request_token(cluster: Cluster, namespace: str, account: str, duration: int) -> Token:
    """Has the API server make one token for istiod.

    Raises:
        ApiError: it refuses; the answer that is told holds no secret.
        MeshError: the token is not one for istiod.
    """
    answer = cluster.request(
        "POST",
        f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token",
        body={
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"audiences": [TOKEN_AUDIENCE], "expirationSeconds": duration},
        },
    )
    status = answer.get("status") or {}
    if not status.get("token") or (answer.get("spec") or {}).get("audiences", [TOKEN_AUDIENCE]) != [TOKEN_AUDIENCE]:
        raise MeshError(
            f"the API server made no token with audience {TOKEN_AUDIENCE} for ServiceAccount {namespace}/{account}",
            "a token that istiod accepts",
            "see whether an admission webhook changes TokenRequests",
        )
    expires = datetime.datetime.fromisoformat(str(status["expirationTimestamp"]).replace("Z", "+00:00"))
    return Token(str(status["token"]), expires.timestamp())


def warning_if_short(token: Token, duration: int, server_time: float | None) -> str | None:
    """What to tell the user of a token that is valid for less than was asked for.

    Raises:
        MeshError: it ends before a VM could use it.
    """
    left = token.expires - (time.time() if server_time is None else server_time)
    if left < MINIMUM_DURATION - 60:
        raise MeshError(
            f"the API server made a token that is valid for {left:.0f} s",
            f"at least {MINIMUM_DURATION} s, so that it reaches the VM in time",
            "see the API server's --service-account-max-token-expiration, and whether a webhook changes TokenRequests",
        )
    # The API server may add to a duration, and its clock has full seconds.
    if left < duration - 60:
        return f"The API server allows tokens of {left:.0f} s only; {duration} s were asked for."
    return None


def request_tokens(cluster: Cluster, namespace: str, account: str, duration: int, count: int) -> list[Token]:
    """Several tokens, requested in parallel; the first failure ends it."""
    if count == 1:
        return [request_token(cluster, namespace, account, duration)]
    with concurrent.futures.ThreadPoolExecutor(max_workers=min(TOKEN_THREADS, max(count, 1))) as pool:
        jobs = [pool.submit(request_token, cluster, namespace, account, duration) for _number in range(count)]
        try:
            return [job.result() for job in jobs]
        finally:
            for job in jobs:
                job.cancel()
