"""Passwords: how they are stored, which may be chosen."""

from __future__ import annotations

import pytest

from app.access import passwords


def test_what_is_stored_is_argon2id_with_its_salt() -> None:
    first, second = passwords.hash_password("a short sentence"), passwords.hash_password("a short sentence")
    assert first.startswith("$argon2id$v=19$m=47104,t=1,p=1$")
    assert first != second
    assert passwords.verify("a short sentence", first)
    assert not passwords.verify("A short sentence", first)
    assert not passwords.needs_update(first)


def test_a_hash_of_weaker_parameters_asks_to_be_renewed() -> None:
    weak = "$argon2id$v=19$m=1024,t=1,p=1$1lpL6X1vTYnRGuO8VyplbA$9iKYqIKSewmcc5OZjHZVDuIwFThToxYNUP/JpvEtyLI"
    assert passwords.needs_update(weak)


@pytest.mark.parametrize("stored", [None, "!", "", "$argon2id$damaged"])
def test_no_account_and_no_usable_hash_answer_no(stored: str | None) -> None:
    assert not passwords.verify("anything", stored)


def test_a_password_beyond_the_cap_is_no_match_even_where_its_beginning_is() -> None:
    stored = passwords.hash_password("x" * 1024)
    assert passwords.verify("x" * 1024, stored)
    assert not passwords.verify("x" * 1025, stored)


@pytest.mark.parametrize(
    "password",
    ["short", "x" * 129, "12345678", "87654321", "Password123", "woaini1314", "zzzzzzzzzz", "officer.li",
     "Officer.Li2026", "il.reciffo", "ZhuXue_2027", "!!yongzhou!!", "教育局20270901"],
)  # fmt: skip
def test_refused_passwords(password: str) -> None:
    assert passwords.fault_of(password, login="officer.li") is not None


@pytest.mark.parametrize(
    "password", ["four words in a row", "沱江的水很清很凉", "tYq7-kkw2-pzzn", "x1" * 2 + "pq" * 62]
)
def test_any_kind_of_character_will_do(password: str) -> None:
    assert passwords.fault_of(password, login="officer.li") is None


def test_initial_passwords_differ_and_pass_the_policy() -> None:
    made = {passwords.initial_password() for _ in range(200)}
    assert len(made) == 200
    assert all(passwords.fault_of(one, login="officer.li") is None for one in made)
