"""The store and the provider that docs/plugs.md writes keep the contracts that ours keep."""

from __future__ import annotations

from support.doc_runner import BY_NAME, execute

TestJSONLogoutStore = execute(BY_NAME["json_store_tests"])["TestJSONLogoutStore"]
TestPortalProvider = execute(BY_NAME["portal_provider_tests"])["TestPortalProvider"]
