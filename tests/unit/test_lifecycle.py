"""The states of a run: the table of the contract, and nothing beside it."""

from itertools import product

import pytest

from core.lifecycle import FINAL, NEXT, WAITING, Origin, State, leading_to

S = State
# The arrows of the contract's state machine.
ARROWS = {
    (S.PENDING, S.QUEUED), (S.RETRY, S.QUEUED),
    (S.PENDING, S.STARTED), (S.QUEUED, S.STARTED), (S.RETRY, S.STARTED),
    (S.STARTED, S.SUCCESS), (S.STARTED, S.FAILURE), (S.STARTED, S.REQUIRES_ACTION), (S.STARTED, S.RETRY),
    (S.PENDING, S.REVOKED), (S.QUEUED, S.REVOKED), (S.RETRY, S.REVOKED), (S.STARTED, S.REVOKED),
    (S.QUEUED, S.PENDING),  # a limit or a budget says wait: a later ready_at, to be sent again then
    (S.PENDING, S.SKIPPED), (S.QUEUED, S.SKIPPED),  # a budget is used up
}  # fmt: skip


@pytest.mark.parametrize(("state", "following"), list(product(State, State)))
def test_a_step_exists_if_and_only_if_the_contract_draws_it(state: State, following: State) -> None:
    assert (following in NEXT[state]) == ((state, following) in ARROWS)


@pytest.mark.parametrize("state", State)
def test_a_state_is_final_or_waiting_or_started_and_only_final_ones_have_no_way_out(state: State) -> None:
    assert (state in FINAL) + (state in WAITING) + (state is State.STARTED) == 1
    assert (state in FINAL) == (not NEXT[state])


@pytest.mark.parametrize("target", State)
def test_the_guard_of_a_step_names_the_states_it_may_leave(target: State) -> None:
    assert leading_to(target) == sorted(state.value for state, following in ARROWS if following is target)


def test_no_state_leads_to_itself_and_what_has_run_is_never_skipped() -> None:
    assert all(state not in following for state, following in NEXT.items())
    assert not {State.STARTED, State.RETRY} & {state for state in State if State.SKIPPED in NEXT[state]}


def test_every_state_that_is_not_final_can_be_cancelled_and_can_end() -> None:
    for state in State:
        reached, edge = set[State](), {state}
        while edge:
            reached |= edge
            edge = set[State]().union(*(NEXT[each] for each in edge)) - reached
        assert state in FINAL or {State.REVOKED, State.SUCCESS, State.FAILURE} <= reached


def test_the_names_are_celerys_and_the_contracts() -> None:
    assert [state.value for state in State] == [state.name for state in State]
    assert {origin.value for origin in Origin} == {"schedule", "manual", "api", "backfill", "after"}
