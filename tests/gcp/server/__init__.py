# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A local server that answers as Google's APIs do, as far as Google's published discovery documents say how.

Each request is routed and validated by these documents, which google-api-python-client carries. What it keeps in mind, which rules of
Google's it knows, and which faults it can be told to make, is in the files beside this one. It is no cloud: what conforms here
conforms to Google's published schemas and methods, and nothing more is shown by it.
"""
