# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One run at a time changes Istio and its gateways, or drains machines: a Lease in the cluster. Private to the collection.

Who finds nothing to change never asks for it. Who does waits for it, and then looks again: the run before has most likely
done it. The Lease is renewed while it is held and deleted afterwards, unless it holds notes for those who come next; one whose
holder was killed is taken over once it was not renewed for as long as it says, by the clock of the one who waits.
"""

from __future__ import annotations

import contextlib
import contextvars
import datetime
import os
import socket
import threading
import time
import typing as t
import uuid

from ansible_collections.hybridmesh.istio.plugins.module_utils._connection import Cluster
from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError
from ansible_collections.hybridmesh.istio.plugins.module_utils._refused import ApiError


class Lease(t.NamedTuple):
    """Which Lease, and what is said of it.

    Attributes:
        namespace: where it is.
        name: what it is called.
        busy: what its holder does.
        raise_what: the options that let somebody wait longer.
    """

    namespace: str
    name: str
    busy: str
    raise_what: str

    @property
    def all_path(self) -> str:
        """Where one is made."""
        return f"/apis/coordination.k8s.io/v1/namespaces/{self.namespace}/leases"

    @property
    def path(self) -> str:
        """Where this one is."""
        return f"{self.all_path}/{self.name}"


# Istio's own namespace may not be there yet, and kube-system is closed in some managed clusters.
ISTIO = Lease(
    "default",
    "hybridmesh-istio",
    "changes Istio or a gateway",
    "lock_timeout (control_plane_lock_timeout, eastwest_gateway_lock_timeout, ingress_gateway_lock_timeout for the roles)",
)
# Seconds after which one that is not renewed is nobody's.
DURATION = 30

OPTION: dict[str, t.Any] = {"lock_timeout": {"type": "int", "default": 1800}}

Object = t.Dict[str, t.Any]
Answer = t.TypeVar("Answer")

_ASKING: contextvars.ContextVar[bool] = contextvars.ContextVar("hybridmesh_lock_asking", default=False)


class NotHeldError(Exception):
    """Something is to be changed, and the lock is not held yet."""


def need() -> None:
    """Called before each change.

    Raises:
        NotHeldError: within `exclusively`, and the lock is not held.
    """
    if _ASKING.get():
        raise NotHeldError


def exclusively(options: t.Mapping[str, t.Any], timeout: float, run: t.Callable[[], Answer]) -> Answer:
    """Runs something; again under the lock if it turns out to change something.

    Args:
        options: how to reach the cluster.
        timeout: seconds to wait for another run.
        run: looks at the cluster and changes it, and calls `need` before each change.

    Raises:
        MeshError: the lock was not to be had, or whatever `run` raises.
    """
    token = _ASKING.set(True)
    try:
        return run()
    except NotHeldError:
        lock = Lock(Cluster(options))
    except MeshError as error:
        # What another run is in the middle of may well look wrong.
        try:
            lock = Lock(Cluster(options))
            theirs = lock.is_somebody_elses()
        except MeshError:
            raise error from None
        if not theirs:
            raise
    finally:
        _ASKING.reset(token)
    with lock.held(timeout):
        return run()


def now() -> str:
    """The time as a Lease has it."""
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class Lock:
    """A Lease that is taken.

    Attributes:
        me: who we are, as others are told.
        notes: the Lease's annotations, as those before left them; `note` changes them.
    """

    def __init__(
        self,
        cluster: Cluster,
        clock: t.Callable[[], float] = time.monotonic,
        sleep: t.Callable[[float], None] = time.sleep,
        lease: Lease = ISTIO,
    ) -> None:
        self.cluster = cluster
        self.lease = lease
        self.notes: dict[str, str] = {}
        self.me = f"{socket.gethostname()}, process {os.getpid()} ({uuid.uuid4().hex[:8]})"
        self._clock, self._sleep = clock, sleep

    def is_somebody_elses(self) -> bool:
        """Whether another run holds it."""
        lease = self.cluster.get(self.lease.path)
        return lease is not None and holder(lease) not in ("", self.me)

    def acquire(self, timeout: float) -> None:
        """Waits until it is ours.

        Raises:
            MeshError: it was not within that time, or we may not have it at all.
        """
        deadline = self._clock() + timeout
        seen: tuple[t.Any, float] = (None, 0.0)
        while True:
            lease = self.cluster.get(self.lease.path)
            if lease is None:
                self.notes = {}
                if self._write("POST", self._spec(0)):
                    return
                continue
            state = (lease["metadata"].get("uid"), lease["spec"].get("holderIdentity"), lease["spec"].get("renewTime"))
            if state != seen[0]:
                seen = (state, self._clock())
            lasts = lease["spec"].get("leaseDurationSeconds") or DURATION
            if not holder(lease) or self._clock() - seen[1] > lasts:
                spec = self._spec((lease["spec"].get("leaseTransitions") or 0) + 1)
                self.notes = notes_of(lease)
                if self._write("PUT", spec, lease["metadata"]["resourceVersion"]):
                    return
                continue
            if self._clock() >= deadline:
                raise MeshError(
                    f"another run {self.lease.busy}: {holder(lease)}, since {lease['spec'].get('acquireTime')}, and it still"
                    f" did after {timeout:g} s (Lease {self.lease.namespace}/{self.lease.name})",
                    "one run at a time",
                    f"wait for that run to end, or raise {self.lease.raise_what}; one that was killed is forgotten after {lasts} s",
                )
            self._sleep(1)

    def renew(self) -> bool:
        """Says that we are still there; False where it is not ours any more."""
        lease = self.cluster.get(self.lease.path)
        if lease is None or holder(lease) != self.me:
            return False
        spec = {**lease["spec"], "renewTime": now()}
        return self._write("PUT", spec, lease["metadata"]["resourceVersion"])

    def note(self, notes: t.Mapping[str, str]) -> bool:
        """Writes the notes down; False where it is not ours any more."""
        self.notes = dict(notes)
        # The keeper may be faster.
        return any(self.renew() for _attempt in range(3))

    def release(self) -> None:
        """Leaves nothing behind but notes, where it is still ours."""
        lease = self.cluster.get(self.lease.path)
        if lease is None or holder(lease) != self.me:
            return
        if self.notes:
            self._write("PUT", {**lease["spec"], "holderIdentity": ""}, lease["metadata"]["resourceVersion"])
            return
        with contextlib.suppress(ApiError):
            same = {key: lease["metadata"][key] for key in ("uid", "resourceVersion")}
            self.cluster.request("DELETE", self.lease.path, body={"preconditions": same})

    @contextlib.contextmanager
    def held(self, timeout: float) -> t.Iterator[None]:
        """Holds it, and renews it meanwhile."""
        self.acquire(timeout)
        stop = threading.Event()

        def keep() -> None:
            # A failure to renew is tried again; what lasts longer is what the other one takes it over for.
            while not stop.wait(DURATION / 4):
                with contextlib.suppress(ApiError):
                    self.renew()

        keeper = threading.Thread(target=keep, daemon=True)
        keeper.start()
        try:
            yield
        finally:
            stop.set()
            keeper.join()
            with contextlib.suppress(ApiError):
                self.release()

    def _spec(self, transitions: int) -> Object:
        moment = now()
        return {
            "holderIdentity": self.me,
            "leaseDurationSeconds": DURATION,
            "acquireTime": moment,
            "renewTime": moment,
            "leaseTransitions": transitions,
        }

    def _write(self, method: str, spec: Object, version: str | None = None) -> bool:
        """Whether nobody was faster."""
        metadata: Object = {"name": self.lease.name, "namespace": self.lease.namespace}
        if self.notes:
            metadata["annotations"] = self.notes
        if version:
            metadata["resourceVersion"] = version
        path = self.lease.all_path if method == "POST" else self.lease.path
        lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}
        try:
            self.cluster.request(method, path, body=lease)
        except ApiError as error:
            if error.status == 409 or (error.status == 404 and method == "PUT"):
                return False
            raise
        return True


def holder(lease: t.Mapping[str, t.Any]) -> str:
    """Who holds it; nobody is ''."""
    return str((lease.get("spec") or {}).get("holderIdentity") or "")


def notes_of(lease: t.Mapping[str, t.Any] | None) -> dict[str, str]:
    """A Lease's annotations."""
    return dict(((lease or {}).get("metadata") or {}).get("annotations") or {})
