from __future__ import annotations

import pytest

from access.types import Identity, Scope


def identity(*scopes: Scope) -> Identity:
    return Identity(key_id="a", owner="a", name="a", scopes=frozenset(scopes))


@pytest.mark.parametrize("held", [scope for scope in Scope if scope is not Scope.ADMIN])
def test_a_scope_allows_itself_and_nothing_else(held: Scope) -> None:
    allowed = {scope for scope in Scope if identity(held).allows(scope)}

    assert allowed == {held}


def test_admin_stands_for_every_scope() -> None:
    assert all(identity(Scope.ADMIN).allows(scope) for scope in Scope)


def test_no_scope_allows_nothing() -> None:
    assert not any(identity().allows(scope) for scope in Scope)


def test_an_identity_does_not_print_its_session() -> None:
    person = Identity(
        key_id="1", owner="user-1", name="ann", scopes=frozenset(), session_key="s3cret"
    )

    assert "s3cret" not in repr(person)
