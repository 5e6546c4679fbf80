"""Claims: one winner per share, holds that end by themselves, and nobody frees what is somebody else's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from app.access.permissions import Role
from app.audit.checks import run_all
from app.audit.models import AuditEvent
from app.core import clock
from app.core.actor import Actor
from app.core.errors import Conflict, DomainError, Invalid, NotFound, NotPermitted
from app.db import Database
from app.sponsorship import claims, listing, upkeep
from app.sponsorship.checks import CHECKS
from app.sponsorship.limits import LIMITS
from app.sponsorship.models import LIVE_CLAIMS, Agreement, Claim, ClaimState, Place
from app.sponsorship.workflow import CLAIM
from tests.factories import actor_for
from tests.money import create_sponsor
from tests.places import city, listed_place, places_of, published, sponsor_actor, with_receiving_account


@pytest.fixture
def time() -> Iterator[clock.MovingClock]:
    with clock.frozen(clock.now().replace(microsecond=0)) as moving:
        yield moving


def confirmed(db: Session, sponsor: Actor | None = None) -> tuple[Actor, Claim]:
    sponsor = sponsor or sponsor_actor(db)
    held = claims.hold(db, sponsor, listed_place(db).public_id)
    claims.confirm(db, sponsor, held.claim, held.token)
    return sponsor, held.claim


class TestHolding:
    def test_lasts_fifteen_minutes_and_leaves_the_list(self, db: Session, time: clock.MovingClock) -> None:
        place = listed_place(db)
        held = claims.hold(db, sponsor_actor(db), place.public_id)
        assert held.claim.held_until == time.now() + timedelta(minutes=15)
        assert listing.open_places(db).total == 0
        time.advance(timedelta(minutes=15))
        assert listing.open_places(db).total == 1

    def test_only_the_digest_of_its_token_is_kept(self, db: Session) -> None:
        held = claims.hold(db, sponsor_actor(db), listed_place(db).public_id)
        db.commit()
        assert held.token.encode() not in bytes(held.claim.hold_token)
        assert not [d for d in db.scalars(select(AuditEvent.detail)) if held.token in d]

    def test_the_second_sponsor_is_told(self, db: Session) -> None:
        place = listed_place(db)
        claims.hold(db, sponsor_actor(db), place.public_id)
        with pytest.raises(Conflict) as refused:
            claims.hold(db, sponsor_actor(db), place.public_id)
        assert refused.value.code == claims.Lost.TAKEN

    def test_several_sponsors_share_one_place(self, db: Session) -> None:
        place = listed_place(db, shares=2)
        numbers = {claims.hold(db, sponsor_actor(db), place.public_id).claim.share_no for _ in range(2)}
        assert numbers == {1, 2}
        with pytest.raises(Conflict):
            claims.hold(db, sponsor_actor(db), place.public_id)

    def test_nobody_holds_a_place_twice(self, db: Session) -> None:
        place, sponsor = listed_place(db, shares=2), sponsor_actor(db)
        claims.hold(db, sponsor, place.public_id)
        with pytest.raises(Conflict) as refused:
            claims.hold(db, sponsor, place.public_id)
        assert refused.value.code == claims.Lost.OWN

    def test_the_cap_counts_what_the_sponsor_has_in_this_introduction(
        self, db: Session, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(claims, "LIMITS", type(LIMITS)(live_claims=2))
        introduction, sponsor = published(db, places=3), sponsor_actor(db)
        outcomes = claims.hold_many(db, sponsor, [place.public_id for place in places_of(db, introduction)])
        assert [outcome.code for outcome in outcomes] == ["", "", claims.Lost.CAP]
        claims.hold(db, sponsor_actor(db), places_of(db, introduction)[2].public_id)

    def test_an_unknown_place_is_no_longer_on_the_list(self, db: Session) -> None:
        with pytest.raises(Conflict) as refused:
            claims.hold(db, sponsor_actor(db), "nothing")
        assert refused.value.code == claims.Lost.GONE

    @pytest.mark.parametrize("role", [role for role in Role if role is not Role.SPONSOR])
    def test_only_sponsors_hold(self, db: Session, role: Role) -> None:
        with pytest.raises(NotPermitted):
            claims.hold(db, actor_for(db, role), listed_place(db).public_id)

    def test_a_cart_says_per_place_what_became_of_it(self, db: Session) -> None:
        free, taken, gone = listed_place(db), listed_place(db), listed_place(db, state="withdrawn")
        claims.hold(db, sponsor_actor(db), taken.public_id)
        sponsor = sponsor_actor(db)
        outcomes = claims.hold_many(
            db, sponsor, [gone.public_id, taken.public_id, free.public_id, free.public_id]
        )
        assert [(o.place, o.code) for o in outcomes] == [
            (gone.public_id, "gone"), (taken.public_id, "taken"), (free.public_id, ""),
        ]  # fmt: skip
        assert outcomes[2].hold is not None
        claims.confirm(db, sponsor, outcomes[2].hold.claim, outcomes[2].hold.token)


class TestRunningOut:
    def test_an_expired_hold_is_freed_by_the_next_hold(self, db: Session, time: clock.MovingClock) -> None:
        place = listed_place(db)
        old = claims.hold(db, sponsor_actor(db), place.public_id).claim
        time.advance(LIMITS.hold - timedelta(seconds=1))
        with pytest.raises(Conflict):
            claims.hold(db, sponsor_actor(db), place.public_id)
        time.advance(timedelta(seconds=1))
        new = claims.hold(db, sponsor_actor(db), place.public_id).claim
        assert (old.state, new.state) == (ClaimState.EXPIRED, ClaimState.HELD)

    def test_only_what_has_run_out_is_freed(self, db: Session, time: clock.MovingClock) -> None:
        place = listed_place(db, shares=2)
        old = claims.hold(db, sponsor_actor(db), place.public_id).claim
        time.advance(timedelta(minutes=10))
        young = claims.hold(db, sponsor_actor(db), place.public_id).claim
        time.advance(timedelta(minutes=5))
        assert claims.expire_due(db) == 1
        assert (old.state, young.state) == (ClaimState.EXPIRED, ClaimState.HELD)
        assert claims.expire_due(db) == 0

    def test_a_late_release_never_frees_somebody_elses_hold(
        self, db: Session, time: clock.MovingClock
    ) -> None:
        place, first, second = listed_place(db), sponsor_actor(db), sponsor_actor(db)
        old = claims.hold(db, first, place.public_id)
        time.advance(LIMITS.hold)
        new = claims.hold(db, second, place.public_id)
        for late in (
            lambda: claims.release(db, first, old.claim),
            lambda: claims.confirm(db, first, old.claim, old.token),
            lambda: claims.release(db, first, new.claim),
            lambda: claims.confirm(db, first, new.claim, old.token),
        ):
            with pytest.raises((Conflict, NotFound)):
                late()
        assert claims.expire_due(db) == 0
        assert new.claim.state == ClaimState.HELD

    def test_a_hold_past_its_time_is_not_confirmed_even_before_the_sweep(
        self, db: Session, time: clock.MovingClock
    ) -> None:
        sponsor = sponsor_actor(db)
        held = claims.hold(db, sponsor, listed_place(db).public_id)
        time.advance(LIMITS.hold)
        with pytest.raises(Conflict):
            claims.confirm(db, sponsor, held.claim, held.token)

    def test_what_the_bureau_does_not_decide_in_72_hours_is_free_again(
        self, db: Session, time: clock.MovingClock
    ) -> None:
        _, claim = confirmed(db)
        time.advance(LIMITS.decide_within - timedelta(seconds=1))
        assert claims.expire_due(db) == 0
        time.advance(timedelta(seconds=1))
        with pytest.raises(Conflict):
            claims.approve(db, city(db), claim)
        assert listing.open_places(db).total == 1
        assert claims.expire_due(db) == 1
        assert claim.state == ClaimState.EXPIRED

    def test_the_chore_frees_them_too(self, db: Session, database: Database, time: clock.MovingClock) -> None:
        held = claims.hold(db, sponsor_actor(db), listed_place(db).public_id)
        db.commit()
        upkeep.expire_claims(database)
        assert db.scalar(select(Claim.state).where(Claim.id == held.claim.id)) == ClaimState.HELD
        time.advance(LIMITS.hold)
        upkeep.expire_claims(database)
        assert db.scalar(select(Claim.state).where(Claim.id == held.claim.id)) == ClaimState.EXPIRED


class TestConfirming:
    def test_by_its_own_token_alone(self, db: Session) -> None:
        sponsor = sponsor_actor(db)
        held = claims.hold(db, sponsor, listed_place(db).public_id)
        for wrong in (
            "",
            "x",
            held.claim.public_id,
            claims.own_token("another browser", held.claim.public_id),
        ):
            with pytest.raises(NotPermitted):
                claims.confirm(db, sponsor, held.claim, wrong)
        claims.confirm(db, sponsor, held.claim, held.token)
        assert held.claim.state == ClaimState.CONFIRMED

    def test_the_token_is_of_no_use_to_another_sponsor(self, db: Session) -> None:
        held = claims.hold(db, sponsor_actor(db), listed_place(db).public_id)
        other = sponsor_actor(db)
        with pytest.raises(NotFound):
            claims.confirm(db, other, held.claim, held.token)
        with pytest.raises(NotFound):
            claims.get_claim(db, other, held.claim.public_id)

    def test_a_colleague_releases_what_an_absent_one_holds(self, db: Session) -> None:
        sponsor = create_sponsor(db)
        place = listed_place(db)
        held = claims.hold(db, sponsor_actor(db, sponsor), place.public_id)
        claims.release(db, sponsor_actor(db, sponsor), held.claim)
        assert claims.hold(db, sponsor_actor(db), place.public_id).claim.state == ClaimState.HELD


class TestDeciding:
    def test_an_approved_claim_has_exactly_one_agreement(self, db: Session) -> None:
        with_receiving_account(db)
        _, claim = confirmed(db)
        officer = city(db)
        agreement = claims.approve(db, officer, claim)
        assert (claim.state, claim.decided_by) == (ClaimState.ACTIVE, officer.person_id)
        assert db.scalars(select(Agreement.id).where(Agreement.claim_id == claim.id)).all() == [agreement.id]
        with pytest.raises(Conflict):
            claims.approve(db, officer, claim)

    def test_nobody_approves_a_claim_of_their_own(self, db: Session) -> None:
        with_receiving_account(db)
        _, claim = confirmed(db)
        officer = city(db)
        claim.person_id = officer.person
        with pytest.raises(NotPermitted):
            claims.approve(db, officer, claim)

    def test_a_refusal_needs_a_reason_and_frees_the_place(self, db: Session) -> None:
        _, claim = confirmed(db)
        with pytest.raises(Invalid):
            claims.refuse(db, city(db), claim, reason="")
        claims.refuse(db, city(db), claim, reason="Another donor was quicker by letter.")
        assert claim.reason.startswith("Another donor")
        assert listing.open_places(db).total == 1

    def test_several_at_once_one_that_cannot_does_not_stop_the_others(self, db: Session) -> None:
        with_receiving_account(db)
        good, cancelled = confirmed(db)[1], confirmed(db)
        claims.cancel(db, *cancelled)
        decisions = claims.decide_many(
            db, city(db), [cancelled[1].public_id, good.public_id, "nothing"], action="approve"
        )
        assert [decision.refusal is None for decision in decisions] == [False, True, False]
        assert good.state == ClaimState.ACTIVE

    def test_an_approval_that_fails_leaves_the_claim_as_it_was(self, db: Session) -> None:
        _, claim = confirmed(db)
        decisions = claims.decide_many(
            db, city(db), [claim.public_id], action="approve"
        )  # no account to pay into
        assert decisions[0].refusal is not None
        assert db.scalar(select(Claim.state).where(Claim.id == claim.id)) == ClaimState.CONFIRMED

    def test_an_ended_claim_ends_its_agreement(self, db: Session) -> None:
        with_receiving_account(db)
        _, claim = confirmed(db)
        agreement = claims.approve(db, city(db), claim)
        claims.end(db, city(db), claim, reason="The family moved away.")
        assert (claim.state, agreement.state) == (ClaimState.ENDED, "ended")


_VERBS: dict[str, Callable[[Session, Actor, Actor, claims.Hold], object]] = {
    "confirm": lambda db, sponsor, _, held: claims.confirm(db, sponsor, held.claim, held.token),
    "release": lambda db, sponsor, _, held: claims.release(db, sponsor, held.claim),
    "cancel": lambda db, sponsor, _, held: claims.cancel(db, sponsor, held.claim),
    "approve": lambda db, _, officer, held: claims.approve(db, officer, held.claim),
    "refuse": lambda db, _, officer, held: claims.refuse(db, officer, held.claim, reason="r"),
    "end": lambda db, _, officer, held: claims.end(db, officer, held.claim, reason="r"),
}


@pytest.mark.parametrize("state", list(ClaimState))
@pytest.mark.parametrize("action", _VERBS)
def test_every_action_in_every_state(db: Session, action: str, state: ClaimState) -> None:
    with_receiving_account(db)
    sponsor, officer = sponsor_actor(db), city(db)
    held = claims.hold(db, sponsor, listed_place(db).public_id)
    held.claim.state = state
    if state is not ClaimState.HELD:
        held.claim.confirmed_at = clock.now()
    db.flush()
    step = CLAIM.transition(action)
    if state in step.sources:
        _VERBS[action](db, sponsor, officer, held)
        assert held.claim.state == step.target
    else:
        with pytest.raises(Conflict):
            _VERBS[action](db, sponsor, officer, held)
        assert db.scalar(select(Claim.state).where(Claim.id == held.claim.id)) == state


@pytest.mark.parametrize("action", ["expire", "free"])
def test_every_step_that_people_do_not_take_has_its_verb(action: str) -> None:
    assert action not in _VERBS
    assert {step.action for step in CLAIM.transitions} == {*_VERBS, "expire", "free"}


def test_a_claim_whose_approval_was_taken_back_says_so_in_memory_too(db: Session) -> None:
    claim = confirmed(db)[1]  # there is no account to pay into, so no agreement can be made
    [decision] = claims.decide_many(db, city(db), [claim.public_id], action="approve")
    assert decision.refusal is not None
    assert (claim.state, claim.decided_at) == (ClaimState.CONFIRMED, None)


def test_the_checks_hold_after_a_busy_day(database: Database, time: clock.MovingClock) -> None:
    with database.write() as db:
        _busy_day(db, time)
    with database.read() as db:
        assert [outcome.code for outcome in run_all(db, CHECKS) if not outcome.result.ok] == []


def _busy_day(db: Session, time: clock.MovingClock) -> None:
    with_receiving_account(db)
    claims.approve(db, city(db), confirmed(db)[1])
    claims.refuse(db, city(db), confirmed(db)[1], reason="r")
    claims.hold(db, sponsor_actor(db), listed_place(db).public_id)
    time.advance(LIMITS.hold)
    claims.expire_due(db)


def test_a_claim_in_a_state_that_no_event_tells_of_is_found(database: Database) -> None:
    with database.write() as db:
        claim = confirmed(db)[1]
        key, name = claim.id, claim.public_id
    check = next(check for check in CHECKS if check.code == "sponsorship.claim-events")
    with database.write() as db:
        assert check.run(db).ok
        db.execute(text("UPDATE claim SET state = 'active' WHERE id = :key"), {"key": key})
        assert check.run(db).detail == f"{name} active"


def test_a_hold_whose_event_was_lost_is_found(database: Database) -> None:
    with database.write() as db:
        claims.hold(db, sponsor_actor(db), listed_place(db).public_id)
        db.info["audit"].clear()
    check = next(check for check in CHECKS if check.code == "sponsorship.claim-events")
    with database.read() as db:
        assert not check.run(db).ok


def test_the_checks_find_what_they_are_for(database: Database) -> None:
    with database.write() as db:
        place = listed_place(db)
        claims.hold(db, sponsor_actor(db), place.public_id)
    with database.write() as db:
        _find_what_they_are_for(db)


def _find_what_they_are_for(db: Session) -> None:
    db.execute(text("UPDATE place SET state = 'withdrawn', alias = '盘大山'"))
    wrong = {outcome.code for outcome in run_all(db, CHECKS) if not outcome.result.ok}
    assert wrong == {"sponsorship.withdrawn", "sponsorship.profiles"}


# --- Races ------------------------------------------------------------------------------------------------


def _sponsors(database: Database, count: int) -> list[Actor]:
    with database.write() as db:
        return [sponsor_actor(db) for _ in range(count)]


def _together(works: list[Callable[[], object]]) -> list[object]:
    """Every work in a thread of its own, all begun at the same moment; a refusal is a result."""
    barrier = Barrier(len(works))

    def run(work: Callable[[], object]) -> object:
        barrier.wait()
        try:
            return work()
        except DomainError as refused:
            return refused

    with ThreadPoolExecutor(len(works)) as pool:
        return list(pool.map(run, works))


def _live(database: Database) -> list[tuple[int, int]]:
    with database.read() as db:
        rows = db.execute(
            select(Claim.place_id, func.count()).where(Claim.state.in_(LIVE_CLAIMS)).group_by(Claim.place_id)
        )
        return [(place, count) for place, count in rows]


@pytest.mark.race
class TestRaces:
    def hold(self, database: Database, actor: Actor, place: str) -> claims.Hold:
        with database.write() as db:
            return claims.hold(db, actor, place)

    def test_two_sponsors_one_place_one_winner(self, fresh_database: Database) -> None:
        first, second = _sponsors(fresh_database, 2)
        for _ in range(10):
            with fresh_database.write() as db:
                place = listed_place(db).public_id
            results = _together(
                [
                    lambda actor=actor, place=place: self.hold(fresh_database, actor, place)
                    for actor in (first, second)
                ]
            )
            assert sorted(isinstance(result, claims.Hold) for result in results) == [False, True]
        assert all(count == 1 for _, count in _live(fresh_database))

    def _storm(self, database: Database, places: int, threads: int) -> list[object]:
        actors = _sponsors(database, threads)
        with database.write() as db:
            wanted = [listed_place(db).public_id for _ in range(places)]

        def work(actor: Actor, turn: int) -> int:
            won = 0
            for place in wanted[turn:] + wanted[:turn]:
                try:
                    self.hold(database, actor, place)
                    won += 1
                except Conflict:
                    continue
            return won

        return _together(
            [lambda a=actor, n=n: work(a, n * places // threads // 4) for n, actor in enumerate(actors)]
        )

    def test_eight_sponsors_fifty_places_no_double(self, fresh_database: Database) -> None:
        won = self._storm(fresh_database, 50, 8)
        assert sum(won) == 50  # type: ignore[arg-type] # a refusal would fail here
        assert len(_live(fresh_database)) == 50

    def test_without_the_index_doubles_appear(self, fresh_database: Database) -> None:
        """The negative control: what holds is the index, not luck."""
        with fresh_database.write() as db:
            db.execute(text("DROP INDEX uq_claim_live"))
        self._storm(fresh_database, 10, 4)
        assert any(count > 1 for _, count in _live(fresh_database))

    def test_carts_in_opposite_orders_never_wait_for_each_other(self, fresh_database: Database) -> None:
        first, second = _sponsors(fresh_database, 2)
        with fresh_database.write() as db:
            wanted = [listed_place(db).public_id for _ in range(20)]

        def cart(actor: Actor, places: list[str]) -> int:
            with fresh_database.write() as db:
                return sum(outcome.hold is not None for outcome in claims.hold_many(db, actor, places))

        won = _together([lambda: cart(first, wanted), lambda: cart(second, wanted[::-1])])
        assert sum(won) == 20  # type: ignore[arg-type] # a refusal would fail here

    @pytest.mark.parametrize("turn", range(3))
    def test_a_cart_and_the_sweep_never_wait_for_each_other(
        self, fresh_database: Database, turn: int
    ) -> None:
        """The holds were made in the opposite order of the places, so that the keys of claims run against the cart."""
        with clock.frozen(clock.now() - timedelta(hours=1)), fresh_database.write() as db:
            places = [listed_place(db).public_id for _ in range(15)]
            actor, other = sponsor_actor(db), sponsor_actor(db)
            for place in reversed(places):
                claims.hold(db, actor, place)

        def sweep() -> int:
            with fresh_database.write() as db:
                return claims.expire_due(db)

        def cart() -> int:
            with fresh_database.write() as db:
                return sum(outcome.hold is not None for outcome in claims.hold_many(db, other, places))

        works = [sweep, cart, sweep]
        won = _together([*works[turn:], *works[:turn]])
        assert won[(1 - turn) % 3] == 15
        assert sum(won) - 15 <= 15  # type: ignore[operator,arg-type] # a refusal would fail here
        assert len(_live(fresh_database)) == 15

    def test_two_reviewers_in_opposite_orders_decide_each_claim_once(self, fresh_database: Database) -> None:
        with fresh_database.write() as db:
            with_receiving_account(db)
            waiting = [confirmed(db)[1].public_id for _ in range(12)]
            reviewers = [actor_for(db, Role.CITY_REVIEWER), city(db)]

        def decide(actor: Actor, order: list[str]) -> int:
            with fresh_database.write() as db:
                decisions = claims.decide_many(db, actor, order, action="refuse", reason="x")
                return sum(decision.refusal is None for decision in decisions)

        won = _together([lambda: decide(reviewers[0], waiting), lambda: decide(reviewers[1], waiting[::-1])])
        assert sum(won) == 12  # type: ignore[arg-type] # a refusal would fail here

    def test_the_sweep_passes_by_what_somebody_is_just_dealing_with(self, fresh_database: Database) -> None:
        if fresh_database.dialect == "sqlite":
            pytest.skip("one writer at a time")
        with clock.frozen(clock.now() - timedelta(hours=1)), fresh_database.write() as db:
            busy, free = listed_place(db), listed_place(db)
            for place in (busy, free):
                claims.hold(db, sponsor_actor(db), place.public_id)
            other, wanted = sponsor_actor(db), busy.public_id
        with fresh_database.write() as cart:
            claims.hold(cart, other, wanted)
            with fresh_database.write() as db:
                assert claims.expire_due(db) == 1

    def test_one_sponsor_cannot_pass_the_cap_by_being_quick(
        self, fresh_database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(claims, "LIMITS", type(LIMITS)(live_claims=3))
        with fresh_database.write() as db:
            actor = sponsor_actor(db)
            wanted = [place.public_id for place in places_of(db, published(db, places=8))]
        _together([lambda place=place: self.hold(fresh_database, actor, place) for place in wanted])
        assert len(_live(fresh_database)) == 3

    @pytest.mark.parametrize("rival", ["expire", "hold", "release"])
    def test_confirm_against_the_end_of_the_hold(self, fresh_database: Database, rival: str) -> None:
        """At the very end of a hold exactly one of the two comes first, and the place is never lost or doubled."""
        first, second = _sponsors(fresh_database, 2)
        for _ in range(8):
            with fresh_database.write() as db:
                place = listed_place(db).public_id
                held = claims.hold(db, first, place)
            end = held.claim.held_until

            def confirm(held: claims.Hold = held) -> None:
                with clock.frozen(end - timedelta(seconds=1)), fresh_database.write() as db:  # noqa: B023
                    claims.confirm(db, first, claims.get_claim(db, first, held.claim.public_id), held.token)

            def other(held: claims.Hold = held, place: str = place) -> object:
                with clock.frozen(end), fresh_database.write() as db:  # noqa: B023
                    if rival == "expire":
                        return claims.expire_due(db)
                    if rival == "hold":
                        return claims.hold(db, second, place)
                    return claims.release(db, first, claims.get_claim(db, first, held.claim.public_id))

            confirm_result, _ = _together([confirm, other])
            with fresh_database.read() as db:
                state = db.scalar(select(Claim.state).where(Claim.id == held.claim.id))
                live = db.scalar(
                    select(func.count())
                    .select_from(Claim)
                    .join(Place, Place.id == Claim.place_id)
                    .where(Place.public_id == place, Claim.state.in_(LIVE_CLAIMS))
                )
            assert (confirm_result is None) == (state == ClaimState.CONFIRMED)
            assert live == (1 if confirm_result is None or rival == "hold" else 0)
