"""The menu, as data: an item is drawn only for those who may follow it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from app.access.permissions import Permission
from app.core.actor import Actor
from app.core.i18n import Message, _m


@dataclass(frozen=True)
class Item:
    """`permission` None: everybody who is signed in. `area` names the pages during which it is marked."""

    label: Message
    path: str
    permission: Permission | None
    area: str


HOME: Final = Item(_m("Home"), "/", None, "home")

MENU: Final = (
    HOME,
    Item(_m("Students"), "/students", Permission.STUDENTS_READ, "students"),
    Item(_m("Imports"), "/imports", Permission.STUDENTS_REGISTER, "imports"),
    Item(_m("Introductions"), "/introductions", Permission.INTRODUCTIONS_READ, "introductions"),
    Item(_m("Choose students"), "/places", Permission.PLACES_CLAIM, "places"),
    Item(_m("My sponsorship"), "/sponsorship", Permission.OWN_SPONSORSHIP_READ, "sponsorship"),
    Item(_m("Sponsors"), "/sponsors", Permission.SPONSORS_READ, "sponsors"),
    Item(_m("Claims"), "/claims", Permission.CLAIMS_DECIDE, "claims"),
    Item(_m("Agreements"), "/agreements", Permission.AGREEMENTS_READ, "agreements"),
    Item(_m("Remittances"), "/remittances", Permission.REMITTANCES_READ, "remittances"),
    Item(_m("Direct disbursements"), "/disbursements", Permission.DISBURSEMENTS_READ, "disbursements"),
    Item(_m("Payout batches"), "/payouts", Permission.PAYOUTS_READ, "payouts"),
    Item(_m("Oversight"), "/oversight", Permission.OVERSIGHT_READ, "oversight"),
    Item(_m("Ledger"), "/ledger", Permission.LEDGER_READ, "ledger"),
    Item(_m("Audit log"), "/audit", Permission.AUDIT_READ, "audit"),
    Item(_m("Accounts"), "/accounts", Permission.ACCOUNTS_MANAGE, "accounts"),
)

PUBLIC_MENU: Final = (Item(_m("Open introductions"), "/open", None, "open"),)

ACCOUNT_MENU: Final = (
    Item(_m("Sessions and password"), "/account", None, "account"),
    Item(_m("Access tokens"), "/account/tokens", None, "tokens"),
    Item(_m("My jobs"), "/jobs", None, "jobs"),
)


def menu(actor: Actor) -> tuple[Item, ...]:
    """What this reader finds in the bar at the top."""
    if not actor.signed_in:
        return PUBLIC_MENU
    return tuple(item for item in MENU if item.permission is None or actor.may(item.permission))


def current(items: Iterable[Item], path: str) -> Item | None:
    """The item under which `path` lies: the longest that is a whole-segment prefix of it."""
    found: Item | None = None
    for item in items:
        under = path == item.path or (item.path != "/" and path.startswith(item.path + "/"))
        if under and (found is None or len(item.path) > len(found.path)):
            found = item
    return found
