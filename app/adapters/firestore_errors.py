"""Firestore's errors, named for the caller."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from google.api_core import exceptions

from rules.ports import Conflict, Unavailable


@contextmanager
def named() -> Iterator[None]:
    """A commit that timed out may have happened: doing it again then says AlreadyProcessed or Conflict, which is the
    truth."""
    try:
        yield
    except (exceptions.AlreadyExists, exceptions.FailedPrecondition, exceptions.NotFound, exceptions.Aborted) as error:
        raise Conflict(error.message) from error
    except exceptions.InvalidArgument:
        raise  # our mistake, and the same on every try
    except (exceptions.GoogleAPICallError, exceptions.RetryError) as error:
        raise Unavailable(f"Firestore: {error}") from error
