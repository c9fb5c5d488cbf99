"""Ethereum keystore files, version 3: made, judged, opened.

Strong parameters only; a weak, loose or absurd file is refused with the remedy before any memory is spent on it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import coincurve
from Crypto.Cipher import AES
from eth_hash.auto import keccak

from tui.vault.bounded_json import loads
from tui.vault.errors import KeystoreError, KeystoreFault
from tui.vault.files import ensure_private_directory, inspect_file, read_private, refuse_taken, write_private

SCRYPT_N = 1 << 18
SCRYPT_R = 8
SCRYPT_P = 1
"""Parameters of every file made here: about a second and 256 MiB for each guess."""

MIN_SCRYPT_N = 1 << 17
MIN_SCRYPT_R = 8
MIN_PBKDF2_ROUNDS = 262_144
"""Below these a file counts as weak. 262144 rounds of HMAC-SHA256 is what the usual clients write."""

MAX_KDF_MEMORY = 1 << 30
MAX_SCRYPT_WORK = 1 << 25
MAX_PBKDF2_ROUNDS = 20_000_000
"""Above these a file is absurd: 1 GiB, n*r*p of sixteen times our own, some ten seconds of hashing."""

MIN_PASSWORD_LENGTH = 8
MAX_PASSWORD_BYTES = 4096

SECP256K1_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


@dataclass(frozen=True, slots=True)
class Scrypt:
    """Key derivation by scrypt (RFC 7914): `128 * n * r` bytes of memory."""

    n: int
    r: int
    p: int
    salt: bytes

    @property
    def weak(self) -> bool:
        """Whether a guess costs less than this program accepts."""
        return self.n < MIN_SCRYPT_N or self.r < MIN_SCRYPT_R

    def __str__(self) -> str:
        return f"scrypt n={self.n} r={self.r} p={self.p}"


@dataclass(frozen=True, slots=True)
class Pbkdf2:
    """Key derivation by PBKDF2-HMAC-SHA256 (RFC 8018)."""

    rounds: int
    salt: bytes

    @property
    def weak(self) -> bool:
        """Whether a guess costs less than this program accepts."""
        return self.rounds < MIN_PBKDF2_ROUNDS

    def __str__(self) -> str:
        return f"pbkdf2 c={self.rounds}"


@dataclass(frozen=True, slots=True)
class KeystoreDocument:
    """A keystore v3 file as read, still encrypted. `address` is lower-case 0x hex, or None where it names none."""

    where: Path
    address: str | None
    kdf: Scrypt | Pbkdf2
    ciphertext: bytes
    iv: bytes
    mac: bytes


def address_of(key: bytes) -> str:
    """The account of a 32-byte private key, lower-case 0x hex (last 20 bytes of keccak of the public key)."""
    public = coincurve.PublicKey.from_valid_secret(key).format(compressed=False)
    return "0x" + keccak(public[1:])[-20:].hex()


def check_key(key: bytes, where: Path | str) -> None:
    """Raises `KeystoreError` unless `key` is a private key of secp256k1: 32 bytes, in 1 .. order-1."""
    if len(key) != 32 or not 0 < int.from_bytes(key, "big") < SECP256K1_ORDER:
        raise KeystoreError(
            "is not a private key",
            where,
            "A key is 32 bytes, 64 hex digits, greater than zero and below the order of the curve.",
            KeystoreFault.KEY,
        )


def check_new_password(password: str, where: Path | str) -> None:
    """Raises `KeystoreError` for a password too short to protect a new file, or absurdly long."""
    if len(password) < MIN_PASSWORD_LENGTH:
        raise KeystoreError(
            "the password is empty"
            if not password
            else f"the password has fewer than {MIN_PASSWORD_LENGTH} characters",
            where,
            "Choose a longer one; several words are good.",
            KeystoreFault.PASSWORD,
        )
    _password_bytes(password, where)


def _password_bytes(password: str, where: Path | str) -> bytes:
    try:
        encoded = password.encode()
    except UnicodeEncodeError:
        encoded = b""
    if not encoded or len(encoded) > MAX_PASSWORD_BYTES:
        raise KeystoreError(
            f"the password is empty, not UTF-8 text, or longer than {MAX_PASSWORD_BYTES} bytes",
            where,
            "Type the password of this key file.",
            KeystoreFault.PASSWORD,
        ) from None
    return encoded


def derive(kdf: Scrypt | Pbkdf2, password: bytes, where: Path | str) -> bytes:
    """The 32 bytes derived from a password. Raises `KeystoreError` when the memory is not there."""
    if isinstance(kdf, Pbkdf2):
        return hashlib.pbkdf2_hmac("sha256", password, kdf.salt, kdf.rounds, 32)
    needed = 128 * kdf.r * (kdf.n + kdf.p + 2)
    try:
        return hashlib.scrypt(password, salt=kdf.salt, n=kdf.n, r=kdf.r, p=kdf.p, maxmem=needed + (1 << 20), dklen=32)
    except (MemoryError, ValueError):
        # OpenSSL tells a failed allocation as a ValueError; the parameters themselves were judged when parsed.
        raise KeystoreError(
            f"not enough memory to open it: {needed >> 20} MiB are needed for a moment",
            where,
            "Close other programs and try again.",
            KeystoreFault.MEMORY,
        ) from None


def encrypt(key: bytes, password: str, where: Path | str) -> bytes:
    """A keystore v3 document for `key` at full strength, as JSON bytes."""
    kdf = Scrypt(SCRYPT_N, SCRYPT_R, SCRYPT_P, secrets.token_bytes(32))
    derived = derive(kdf, _password_bytes(password, where), where)
    iv = secrets.token_bytes(16)
    ciphertext = _aes_ctr(derived[:16], iv, key)
    document = {
        "address": address_of(key)[2:],
        "crypto": {
            "cipher": "aes-128-ctr",
            "cipherparams": {"iv": iv.hex()},
            "ciphertext": ciphertext.hex(),
            "kdf": "scrypt",
            "kdfparams": {"dklen": 32, "n": kdf.n, "r": kdf.r, "p": kdf.p, "salt": kdf.salt.hex()},
            "mac": keccak(derived[16:32] + ciphertext).hex(),
        },
        "id": str(uuid.uuid4()),
        "version": 3,
    }
    return json.dumps(document, indent=1).encode() + b"\n"


def _aes_ctr(key: bytes, iv: bytes, data: bytes) -> bytes:
    cipher = AES.new(key, AES.MODE_CTR, nonce=b"", initial_value=iv)
    return bytes(cipher.encrypt(data))


def decrypt_document(document: KeystoreDocument, password: str) -> bytes:
    """The 32-byte key of a parsed document, whatever its strength; its address is compared.

    Raises `KeystoreError`: wrong password, key of another address, no memory.
    """
    where = document.where
    derived = derive(document.kdf, _password_bytes(password, where), where)
    if not hmac.compare_digest(keccak(derived[16:32] + document.ciphertext), document.mac):
        raise KeystoreError(
            "wrong password, or the file is damaged",
            where,
            "Try again, or take the backup of the file.",
            KeystoreFault.PASSWORD,
        )
    key = _aes_ctr(derived[:16], document.iv, document.ciphertext)
    check_key(key, where)
    if document.address is not None and address_of(key) != document.address:
        raise KeystoreError(
            f"names {document.address}, but the key inside belongs to {address_of(key)}",
            where,
            "Do not use it before you know why; import the key into a new file if it is yours.",
            KeystoreFault.MISMATCH,
        )
    return key


def create_keystore(path: Path, password: str, *, key: bytes | None = None, overwrite: bool = False) -> str:
    """Write a new key file (0600, in a 0700 directory) and return its account, lower-case 0x hex.

    `key` is 32 bytes; without it a random one is made. The new file is read back and decrypted before it takes its
    name. Takes about two seconds. Raises `KeystoreError`; an existing file is replaced only with `overwrite`.
    """
    check_new_password(password, path)
    secret = random_key() if key is None else key
    check_key(secret, path)
    # Before a second of derivation; write_private judges both again when it counts.
    ensure_private_directory(path.parent)
    if not overwrite:
        refuse_taken(path)

    def verify(temporary: Path) -> None:
        if decrypt_document(parse_keystore(read_private(temporary), path), password) != secret:
            raise KeystoreError(
                "the file just written does not give the key back",
                path,
                "Nothing was replaced. Check the disk and the memory of this machine.",
                KeystoreFault.MISMATCH,
            )

    write_private(path, encrypt(secret, password, path), overwrite=overwrite, verify=verify)
    return address_of(secret)


def random_key() -> bytes:
    """A new private key: 32 bytes of the operating system's randomness, in 1 .. order-1."""
    while True:
        key = secrets.token_bytes(32)
        if 0 < int.from_bytes(key, "big") < SECP256K1_ORDER:
            return key


def decrypt(path: Path, password: str) -> bytes:
    """The 32-byte private key of a key file that is private, well formed and strong. Raises `KeystoreError`."""
    document = parse_keystore(read_private(path), path)
    if document.kdf.weak:
        raise weak_error(document)
    return decrypt_document(document, password)


def weak_error(document: KeystoreDocument) -> KeystoreError:
    """The refusal of a file whose password can be guessed too cheaply."""
    return KeystoreError(
        f"its key derivation is weak ({document.kdf})",
        document.where,
        "Make a strong copy with: trimtab keystore import --file OLD --keystore NEW",
        KeystoreFault.UNSAFE,
    )


@dataclass(frozen=True, slots=True)
class KeystoreReport:
    """A key file judged without its password. `faults` is empty when it may be used."""

    path: Path
    address: str | None
    kdf: str | None
    weak: bool | None
    faults: tuple[KeystoreError, ...]


def inspect_keystore(path: Path) -> KeystoreReport:
    """Judge a key file without decrypting it: place, permissions, format, strength. Raises nothing."""
    content, faults = inspect_file(path)
    if content is None:
        return KeystoreReport(path, None, None, None, tuple(faults))
    try:
        document = parse_keystore(content, path)
    except KeystoreError as error:
        return KeystoreReport(path, None, None, None, (*faults, error))
    if document.kdf.weak:
        faults = [*faults, weak_error(document)]
    return KeystoreReport(path, document.address, str(document.kdf), document.kdf.weak, tuple(faults))


def parse_keystore(content: bytes, where: Path) -> KeystoreDocument:
    """A keystore v3 document from JSON bytes, strictly. Raises `KeystoreError` (malformed, or absurd parameters)."""
    try:
        parsed = loads(content)
    except ValueError:
        raise _malformed("is not JSON", where) from None
    if not isinstance(parsed, dict):
        raise _malformed("is not a JSON object", where)
    # The format is case-insensitive in its outer names by custom: some wallets write "Crypto".
    outer = {str(name).lower(): value for name, value in parsed.items()}
    if outer.get("version") != 3 or isinstance(outer.get("version"), bool):
        raise _malformed("is not a version 3 keystore", where)
    crypto = _member(outer, "crypto", where)
    if crypto.get("cipher") != "aes-128-ctr":
        raise _malformed("uses another cipher than aes-128-ctr", where)
    address = outer.get("address")
    return KeystoreDocument(
        where=where,
        address=None if address is None else "0x" + _hex(outer, "address", where, 20).hex(),
        kdf=_parse_kdf(crypto, where),
        ciphertext=_hex(crypto, "ciphertext", where, 32),
        iv=_hex(_member(crypto, "cipherparams", where), "iv", where, 16),
        mac=_hex(crypto, "mac", where, 32),
    )


def _parse_kdf(crypto: dict[str, Any], where: Path) -> Scrypt | Pbkdf2:
    params = _member(crypto, "kdfparams", where)
    if _whole(params, "dklen", where) != 32:
        raise _malformed("kdfparams.dklen is not 32", where)
    salt = _hex(params, "salt", where, None)
    kind = crypto.get("kdf")
    if kind == "scrypt":
        n, r, p = (_whole(params, name, where) for name in ("n", "r", "p"))
        if n & (n - 1) or n < 2:
            raise _malformed("kdfparams.n is not a power of two", where)
        if 128 * n * r > MAX_KDF_MEMORY or n * r * p > MAX_SCRYPT_WORK:
            raise _absurd("its scrypt parameters ask for absurd memory or time", where)
        return Scrypt(n, r, p, salt)
    if kind == "pbkdf2":
        if params.get("prf") != "hmac-sha256":
            raise _malformed("uses another prf than hmac-sha256", where)
        rounds = _whole(params, "c", where)
        if rounds > MAX_PBKDF2_ROUNDS:
            raise _absurd("its pbkdf2 parameters ask for absurd time", where)
        return Pbkdf2(rounds, salt)
    raise _malformed("names no key derivation this program knows (scrypt, pbkdf2)", where)


def _malformed(what: str, where: Path) -> KeystoreError:
    return KeystoreError(what, where, "Name a keystore v3 file, or take its backup.", KeystoreFault.MALFORMED)


def _absurd(what: str, where: Path) -> KeystoreError:
    return KeystoreError(
        what, where, "It would stall this machine. Re-encrypt it with the wallet that made it.", KeystoreFault.UNSAFE
    )


def _member(parent: dict[str, Any], name: str, where: Path) -> dict[str, Any]:
    value = parent.get(name)
    if not isinstance(value, dict):
        raise _malformed(f"has no object {name!r}", where)
    return value


def _whole(parent: dict[str, Any], name: str, where: Path) -> int:
    value = parent.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise _malformed(f"kdfparams.{name} is not a whole number above zero", where)
    return value


def _hex(parent: dict[str, Any], name: str, where: Path, length: int | None) -> bytes:
    value = parent.get(name)
    text = value[2:] if isinstance(value, str) and value[:2] in ("0x", "0X") else value
    try:
        decoded = bytes.fromhex(text) if isinstance(text, str) and text.isalnum() else None
    except ValueError:
        decoded = None
    if decoded is None or (length is not None and len(decoded) != length) or len(decoded) > 1024:
        raise _malformed(f"{name!r} is not hex{'' if length is None else f' of {length} bytes'}", where)
    return decoded
