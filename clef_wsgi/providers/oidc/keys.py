"""The provider's signing keys (RFC 7517) and signatures made with them (RFC 7515)."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from clef_wsgi import webhook_limit
from clef_wsgi.base.errors import ProviderUnavailable
from clef_wsgi.providers.http_client import HttpClient
from clef_wsgi.providers.renewal import ForkSafe, Renewed

from .metadata import Metadata

MIN_RSA_BITS = 2048
KEY_LIFETIME_SECONDS = 24 * 3600
DEMANDS = 5
SECONDS_A_DEMAND = 10

SigningKey = RSAKey | ECKey | OKPKey


@dataclass(frozen=True)
class Algorithm:
    """A signature algorithm: the key's type and curve, and the hash of ``at_hash`` (OpenID Connect Core, 3.1.3.6)."""

    key_type: str
    curve: str | None
    hash_name: str


ALGORITHMS: Mapping[str, Algorithm] = {
    **{f"{family}{bits}": Algorithm("RSA", None, f"sha{bits}") for family in ("RS", "PS") for bits in (256, 384, 512)},
    "ES256": Algorithm("EC", "P-256", "sha256"),
    "ES384": Algorithm("EC", "P-384", "sha384"),
    "ES512": Algorithm("EC", "P-521", "sha512"),
    "Ed25519": Algorithm("OKP", "Ed25519", "sha512"),
    "EdDSA": Algorithm("OKP", "Ed25519", "sha512"),
}

_EDWARDS = ("Ed25519", "EdDSA")  # one algorithm under two names (RFC 9864)
_MEMBERS: Mapping[str, tuple[type[SigningKey], tuple[str, ...]]] = {
    "RSA": (RSAKey, ("kty", "n", "e")),
    "EC": (ECKey, ("kty", "crv", "x", "y")),
    "OKP": (OKPKey, ("kty", "crv", "x")),
}


@dataclass(frozen=True)
class PublicKey:
    """One key of a provider's set that this package can use."""

    key: SigningKey = field(repr=False)
    key_id: str | None
    key_type: str
    curve: str | None
    algorithm: str | None

    def fits(self, algorithm: str) -> bool:
        """Tell whether a signature of this algorithm may be verified with the key."""
        wanted = ALGORITHMS[algorithm]
        names = (None, *(_EDWARDS if algorithm in _EDWARDS else (algorithm,)))
        is_of_type = self.key_type == wanted.key_type and wanted.curve in (None, self.curve)
        return is_of_type and self.algorithm in names

    def verifies(self, algorithm: str, signing_input: bytes, signature: bytes) -> bool:
        """Verify a signature with joserfc."""
        try:
            model = JWSRegistry.algorithms[algorithm]
            model.check_key(self.key)
            return model.verify(signing_input, signature, self.key)
        except Exception:  # noqa: BLE001  of joserfc or cryptography: none is a proof
            return False


def import_keys(document: Mapping[str, Any]) -> tuple[PublicKey, ...]:
    """Import each key of a JWK set by itself, and pass over those that can't be used.

    :raises ProviderUnavailable: none is left.
    """
    members = document.get("keys")
    imported = [_import_key(member) for member in (members if isinstance(members, list) else ())]
    usable = tuple(key for key in imported if key is not None)
    if not usable:
        sentence = "The login service publishes no key that its signatures could be verified with."
        raise ProviderUnavailable(sentence, reason="provider_keys", http_status=200, cause=None)
    return usable


def _import_key(jwk: Any) -> PublicKey | None:
    try:
        make, names = _MEMBERS[jwk["kty"]]
        curve, key_id = jwk.get("crv"), jwk.get("kid")
        if not _is_for_signatures(jwk) or not isinstance(key_id, str | None):
            return None
        if jwk["kty"] == "RSA" and rsa_bits(jwk["n"]) < MIN_RSA_BITS:
            return None
        key: SigningKey = make.import_key({name: jwk[name] for name in names})
        return PublicKey(key, key_id, jwk["kty"], curve, jwk.get("alg"))
    except Exception:  # noqa: BLE001  KeyError, ValueError, TypeError, JoseError ...: it can't be used
        return None


def _is_for_signatures(jwk: Mapping[str, Any]) -> bool:
    if jwk["kty"] != "RSA" and jwk.get("crv") not in {each.curve for each in ALGORITHMS.values()}:
        return False
    return jwk.get("use", "sig") == "sig" and "verify" in jwk.get("key_ops", ["verify"])


def rsa_bits(modulus: str) -> int:
    """Return the length of a modulus in base64url; joserfc only warns of short ones."""
    return int.from_bytes(urlsafe_b64decode(modulus + "=" * (-len(modulus) % 4)), "big").bit_length()


def sign(algorithm: str, key: SigningKey, key_id: str, claims: Mapping[str, Any]) -> str:
    """Make a signed JWT (RFC 7519)."""
    header = {"alg": algorithm, "typ": "JWT", "kid": key_id}
    signing_input = b".".join(_encoded(json.dumps(part).encode()) for part in (header, claims))
    signature = JWSRegistry.algorithms[algorithm].sign(signing_input, key)
    return b".".join([signing_input, _encoded(signature)]).decode("ascii")


def _encoded(content: bytes) -> bytes:
    return urlsafe_b64encode(content).rstrip(b"=")


class DemandBudget(ForkSafe):
    """Count the fetches that logout tokens may cause: five, and one back every ten seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._left, self._at = float(DEMANDS), clock()
        super().__init__()

    def spend(self) -> None:
        """Take one.

        :raises ProviderUnavailable: none is left; a token that can't be judged is not called wrong.
        """
        with self._lock:
            now = self._clock()
            self._left = min(DEMANDS, self._left + max(0.0, now - self._at) / SECONDS_A_DEMAND)
            self._at = now
            if self._left >= 1:
                self._left -= 1
                return
        sentence = "Too many logouts came with unknown keys: send this one again in a few seconds."
        raise ProviderUnavailable(sentence, reason="webhook_busy", retry_after=SECONDS_A_DEMAND)


class ProviderKeys:
    """The provider's keys, fetched when first needed.

    Strangers can post logout tokens, so those have a budget and at most two exchanges at a time; ID tokens come from
    the token endpoint and have neither.
    """

    def __init__(
        self, http: HttpClient, metadata: Renewed[Metadata], *, clock: Callable[[], float], seconds: float
    ) -> None:
        self._http, self._metadata, self._seconds = http, metadata, seconds
        self._set = Renewed(self._fetch, clock=clock, expires_after=KEY_LIFETIME_SECONDS)
        self._budget = DemandBudget(clock)

    def current(self) -> tuple[PublicKey, ...]:
        """Return the keys; raise ``ProviderUnavailable`` where there are none, or none confirmed for a day."""
        return self._set.current(self._patience)

    def verify(self, verifies: Callable[[tuple[PublicKey, ...]], bool | None], *, is_of_stranger: bool) -> bool:
        """Try the keys, and fetch them once more where none of them can be the token's.

        :param verifies: returns True or False, or None where no key has the token's id.
        """
        with self._place(is_of_stranger and not self._set.is_kept):
            keys = self.current()
        proven = verifies(keys)
        if proven is None:
            with self._place(is_of_stranger):
                if is_of_stranger:
                    self._budget.spend()
                proven = verifies(self._set.newer_than(keys, self._patience))
        return bool(proven)

    @property
    def _patience(self) -> float:
        return 2 * self._seconds + 1  # the metadata first, then the keys: each with a deadline of its own

    def _place(self, is_bounded: bool) -> AbstractContextManager[None]:
        return webhook_limit.of_this_process.place() if is_bounded else nullcontext()

    def _fetch(self) -> tuple[PublicKey, ...]:
        address = self._metadata.current(self._seconds + 1).addresses["jwks_uri"]
        return import_keys(self._http.get_json(address).document)
