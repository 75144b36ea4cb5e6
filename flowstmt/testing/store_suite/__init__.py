"""The contract of stores, as tests: whoever writes a ``Store`` lets a subclass of ``StoreSuite`` run on it.

::

    import pytest

    pytest.register_assert_rewrite("flowstmt.testing.store_suite")  # in conftest.py: failures then show both sides

    from flowstmt.testing.store_suite import StoreSuite


    class TestMyStore(StoreSuite):
        @pytest.fixture(autouse=True)
        def _server(self, my_server):
            self.server = my_server

        def make_store(self, database):
            return MyStore(self.server.url, prefix=database)

Each test has a database of its own, which is empty at first; ``make_store`` is called again for further workers on it. The
other hooks are optional, and tests that need one that is missing are skipped: ``write_note`` and ``notes`` for transactions,
``open_connection`` for ``join``. ``one_writer_at_a_time`` tells what can't be seen on such a database. Stores that have
``commit_at_once`` are asked by it as well.

Any runner will do that calls methods named ``test_...``, each on an object of its own, and ``teardown_method`` after it. The
model needs hypothesis (``flowstmt[testing]``), and its test is skipped without. How to write a store:
``docs/writing-a-store.md``.
"""

from flowstmt.testing.store_suite.at_once import AtOnce
from flowstmt.testing.store_suite.inbox import Answers, Inboxes
from flowstmt.testing.store_suite.leases import Claiming, Renewals, SettingBack
from flowstmt.testing.store_suite.lists import Lists
from flowstmt.testing.store_suite.models import Models
from flowstmt.testing.store_suite.queues import Queues
from flowstmt.testing.store_suite.saves import Documents, Records, Saves
from flowstmt.testing.store_suite.starts import Deletions, SingleFlight, Starts
from flowstmt.testing.store_suite.transactions import Joins, Transactions
from flowstmt.testing.store_suite.wakings import Crowds, Openings, Waits

__all__ = ["StoreSuite"]


class StoreSuite(
    Openings,
    Starts,
    SingleFlight,
    Claiming,
    Renewals,
    SettingBack,
    Saves,
    Records,
    Documents,
    AtOnce,
    Inboxes,
    Answers,
    Queues,
    Lists,
    Deletions,
    Transactions,
    Joins,
    Waits,
    Crowds,
    Models,
):
    """Every test of the contract. Subclass it, and give it ``make_store``."""
