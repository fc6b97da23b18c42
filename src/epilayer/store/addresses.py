"""Addresses of databases as they may be shown."""

from __future__ import annotations


def without_password(uri: str) -> str:
    """Return an address that may be shown: the password is replaced by stars.

    >>> without_password("mongodb://me:secret@host/db")
    'mongodb://me:***@host/db'
    """
    before, separator, rest = uri.rpartition("://") if "://" in uri else ("", "", uri)
    credentials, at, place = rest.rpartition("@")
    user = credentials.partition(":")[0]
    return f"{before}{separator}{user}:***{at}{place}" if ":" in credentials else uri
