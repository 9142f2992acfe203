"""The defects that tests of `pytest_suite` name (catalogue/functional.py), by id and service."""

from __future__ import annotations

from collections.abc import Callable

from earwitness.harness.defects import changing, entrance, people, stingy, tabs
from earwitness.harness.defects.chance import Chance
from earwitness.harness.reference.auth.service import Auth
from earwitness.harness.reference.backend.app import Backend

AUTH: dict[str, Callable[[Auth, Chance], object]] = {
    "S3": entrance.ProviderTakenForUp,
    "S5": entrance.StrangerEachTime,
    "S8": changing.ToldOnce,
    "S9": changing.YesAnyway,
    "S15": entrance.LogoutEverywhere,
    "S16": entrance.PlainPkce,
    "S17": entrance.OneNonce,
    "S18": entrance.NonceUnchecked,
    "S19": entrance.IssuerUnchecked,
    "S21": entrance.open_redirect,
    "S24": entrance.ForgetfulSessions,
}
BACKEND: dict[str, Callable[[Backend, Chance], object]] = {
    "S1": people.AskAuthEachTime,
    "S2": people.BreakerNeverOpens,
    "S4": tabs.Panic,
    "S6": changing.StaleChange,
    "S7": changing.DeafWhileAway,
    "S10": people.answered_as_another,
    "S11": people.connected_as_another,
    "S12": people.KeysOnce,
    "S13": tabs.OneFallsAllFall,
    "S14": tabs.NewsToOneTab,
    "S22": stingy.TenthOfTheBudget,
    "S23": tabs.EndlessPatience,
    "S25": people.CachedPeople,
    "S26": people.FirstHeaderWins,
}
