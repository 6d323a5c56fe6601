# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who we are for Google: credentials in each of google.cloud's ways, by google-auth. Private to the collection."""

from __future__ import annotations

import contextlib
import json
import os
import typing as t

from ansible_collections.hybridmesh.istio.plugins.module_utils._errors import MeshError

try:
    import google.auth
    import google.auth.compute_engine
    import google.auth.exceptions
    import google.auth.transport.requests
    import google.oauth2.credentials
    import google.oauth2.service_account
    import requests

    # What goes wrong when nobody says who we are, and on the way to Google.
    AUTH_ERRORS: tuple[type[Exception], ...] = (google.auth.exceptions.GoogleAuthError,)
    WAY_ERRORS: tuple[type[Exception], ...] = (requests.exceptions.RequestException,)
    IMPORT_ERROR: ImportError | None = None
except ImportError as error:
    AUTH_ERRORS = WAY_ERRORS = ()
    IMPORT_ERROR = error

_UNUSABLE: tuple[type[Exception], ...] = (ValueError, OSError, *AUTH_ERRORS)
_NO_TOKEN: tuple[type[Exception], ...] = (*AUTH_ERRORS, *WAY_ERRORS)

SCOPES = ["https://www.googleapis.com/auth/cloud-platform"]
# The variables that google.cloud reads, too.
ENVIRONMENT = {
    "project": "GCP_PROJECT",
    "auth_kind": "GCP_AUTH_KIND",
    "service_account_email": "GCP_SERVICE_ACCOUNT_EMAIL",
    "service_account_file": "GCP_SERVICE_ACCOUNT_FILE",
    "service_account_contents": "GCP_SERVICE_ACCOUNT_CONTENTS",
    "access_token": "GCP_ACCESS_TOKEN",
}
# What each kind goes by.
_OF_KIND = {
    "application": (),
    "serviceaccount": ("service_account_file", "service_account_contents"),
    "machineaccount": ("service_account_email",),
    "accesstoken": ("access_token",),
}


def need_library() -> None:
    """Says what is missing.

    Raises:
        MeshError: google-auth or requests is.
    """
    if IMPORT_ERROR is not None:
        raise MeshError(
            f"the Python library '{IMPORT_ERROR.name}' is not importable",
            "google-auth and requests in the Python that runs ansible-playbook",
            "install them there: pip install google-auth requests",
        )


def from_environment(options: t.Mapping[str, t.Any], environ: t.Mapping[str, str] | None = None) -> dict[str, t.Any]:
    """The options with those filled in that the environment has, and only those of the chosen kind of credentials."""
    environ = os.environ if environ is None else environ
    found = {
        name: options.get(name) if options.get(name) not in (None, "") else environ.get(variable) or None
        for name, variable in ENVIRONMENT.items()
    }
    for kind, names in _OF_KIND.items():
        if kind != found["auth_kind"]:
            # A token in the environment is no matter where a file is to be used.
            found.update({name: None for name in names if name not in _OF_KIND.get(str(found["auth_kind"]), ())})
    return {**options, **found}


def credentials(options: t.Mapping[str, t.Any]) -> t.Any:
    """google-auth's credentials.

    Raises:
        MeshError: they can't be had.
    """
    need_library()
    kind = options["auth_kind"]
    try:
        if kind == "application":
            return google.auth.default(scopes=SCOPES)[0]
        if kind == "machineaccount":
            return google.auth.compute_engine.Credentials(options.get("service_account_email") or "default")
        if kind == "accesstoken" and options.get("access_token"):
            return google.oauth2.credentials.Credentials(options["access_token"], scopes=SCOPES)
        service = google.oauth2.service_account.Credentials
        if kind == "serviceaccount" and options.get("service_account_file"):
            return service.from_service_account_file(os.path.expanduser(options["service_account_file"]), scopes=SCOPES)
        if kind == "serviceaccount" and options.get("service_account_contents"):
            contents = options["service_account_contents"]
            info = json.loads(contents) if isinstance(contents, str) else dict(contents)
            return service.from_service_account_info(info, scopes=SCOPES)
    except _UNUSABLE as error:
        # Never the error's own words: they may quote the key.
        reason = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
        raise MeshError(
            f"credentials of the kind {kind} can't be had ({reason})", "usable credentials", _NEXT[kind]
        ) from None
    raise MeshError(f"auth_kind {kind!r} without what it needs", "credentials", _NEXT.get(str(kind), _NEXT["none"]))


_NEXT = {
    "application": "gcloud auth application-default login, or set GOOGLE_APPLICATION_CREDENTIALS",
    "serviceaccount": "set gcp_infra_service_account_file or gcp_infra_service_account_contents to a service account's key",
    "machineaccount": "run this on a machine of Google Cloud with a service account",
    "accesstoken": "set gcp_infra_access_token, by gcloud auth print-access-token",
    "none": "set gcp_infra_auth_kind to application, serviceaccount, machineaccount or accesstoken",
}


def session(found: t.Any) -> t.Any:
    """A session of requests that says who we are, and renews what it says it with."""
    return google.auth.transport.requests.AuthorizedSession(found)


def token(found: t.Any) -> str:
    """A token that is valid now.

    Raises:
        MeshError: none is to be had.
    """
    try:
        if not found.valid:
            found.refresh(google.auth.transport.requests.Request())
    except _NO_TOKEN as error:
        raise MeshError(
            f"Google gave no token ({type(error).__name__})",
            "credentials that Google accepts",
            "check gcp_infra_auth_kind",
        ) from None
    return str(found.token)


def module_options(options: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The same for a module of google.cloud."""
    found = {name: options[name] for name in ENVIRONMENT if options.get(name)}
    contents = found.get("service_account_contents")
    if contents and not isinstance(contents, str):
        found["service_account_contents"] = json.dumps(contents)
    return {**found, "scopes": SCOPES}


@contextlib.contextmanager
def nothing_from_environment() -> t.Iterator[None]:
    """Within this, google.cloud's modules go by their options alone.

    They would take each variable that an option does not stand for, and then refuse a file for one kind of credentials beside a token for
    the other.
    """
    kept = {name: os.environ.pop(name) for name in ENVIRONMENT.values() if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)


def secrets(options: t.Mapping[str, t.Any]) -> set[str]:
    """What of the options must not be seen."""
    found = {str(options["access_token"])} if options.get("access_token") else set()
    contents = options.get("service_account_contents")
    if contents:
        text = contents if isinstance(contents, str) else json.dumps(contents)
        found.add(text)
        with contextlib.suppress(ValueError, KeyError, TypeError):
            found.add(str(json.loads(text)["private_key"]))
    return found
