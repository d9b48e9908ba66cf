"""An installation with a ledger and an inbox."""

from collections.abc import Iterator

import pytest

from ironclad_assets.intake.inbox import Inbox
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.settings import Settings
from ironclad_assets.storage.store import Store


@pytest.fixture
def ledger(settings: Settings) -> Iterator[Ledger]:
    """The migrated ledger of `settings`."""
    ledger = Ledger(settings.ledger_url)
    ledger.migrate()
    yield ledger
    ledger.close()


@pytest.fixture
def inbox(ledger: Ledger, store: Store, settings: Settings) -> Iterator[Inbox]:
    """An inbox that already watches the upload folder."""
    inbox = Inbox(ledger=ledger, store=store, settings=settings)
    inbox.collect(budget_s=1.0)
    yield inbox
    inbox.close()
