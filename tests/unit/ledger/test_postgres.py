"""The ledger's Postgres: what is told when it is away, how long it is waited for, and who waits for whom."""

import threading
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import Connection, insert, select, text

from ironclad_assets.errors import ErrorCode, IroncladError, StorageUnavailable
from ironclad_assets.ledger import condemn, postgres
from ironclad_assets.ledger.database import SERVER_MOST, Database, take_turns
from ironclad_assets.ledger.store import Ledger
from ironclad_assets.ledger.tables import user_defaults
from ironclad_assets.ledger.users import take_user_turn
from tests.fakes.postgres import PostgresServer
from tests.unit.ledger.conftest import add_song

PASSWORD = "hunter2"


@pytest.fixture
def database(postgres_url: str) -> Iterator[Database]:
    database = Database(postgres_url)
    yield database
    database.close()


@pytest.fixture
def patience() -> Iterator[Callable[[float], None]]:
    yield postgres.wait_for_servers
    postgres.wait_for_servers(0.0)


def test_server_that_is_away_is_named_without_its_password(tmp_path) -> None:
    ledger = Ledger(f"postgresql://ada:{PASSWORD}@/songs?host={tmp_path}")
    with pytest.raises(StorageUnavailable, match="does not answer") as caught:
        ledger.check_schema()
    assert caught.value.code is ErrorCode.STORAGE_AWAY
    assert "ada:***@/songs" in caught.value.detail
    assert "\n" not in caught.value.detail
    assert PASSWORD not in repr(caught.value.__cause__) + caught.value.describe()


def test_database_that_was_never_created_is_told_apart(postgres_url: str) -> None:
    ledger = Ledger(postgres_url.replace("/ledger?", "/nothing?"))
    with pytest.raises(StorageUnavailable, match="has no such database; create it"):
        ledger.check_schema()


def test_who_has_patience_gets_an_answer_once_the_server_is_back(
    make_postgres: Callable[..., PostgresServer], patience: Callable[[float], None]
) -> None:
    server = make_postgres()
    ledger = Ledger(server.url("postgres"))
    ledger.migrate()
    server.stop("immediate")
    with pytest.raises(StorageUnavailable):
        ledger.jobs()
    patience(60.0)
    starting = threading.Timer(0.5, server.start)
    starting.start()
    assert ledger.jobs() == []
    starting.join()
    ledger.close()


def test_connections_that_died_meanwhile_are_not_used(make_postgres: Callable[..., PostgresServer]) -> None:
    server = make_postgres()
    ledger = Ledger(server.url("postgres"))
    ledger.migrate()
    for mode in ("fast", "immediate"):
        assert ledger.jobs() == []
        server.stop(mode)
        server.start()
    assert ledger.jobs() == []
    ledger.close()


def test_writer_of_a_subject_waits_for_the_one_before_and_sees_what_it_wrote(url: str) -> None:
    """QUEUE-002: a check and what follows from it are one, on both databases, where there is no row to lock yet."""
    Ledger(url).migrate()
    database = Database(url)
    written = []

    def add_unless_there() -> None:
        with database.write() as connection:
            take_turns(connection, "defaults:ada")
            if connection.execute(select(user_defaults.c.user_id)).first() is None:
                connection.execute(
                    insert(user_defaults).values(user_id=f"ada{len(written)}", options={}, updated_at="")
                )
                written.append(threading.get_ident())

    threads = [threading.Thread(target=add_unless_there) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60.0)
    assert len(written) == 1
    database.close()


def test_subjects_do_not_wait_for_each_other(database: Database) -> None:
    with database.write() as first, database.write() as second:
        take_turns(first, "user:ada")
        take_turns(second, "user:ben")
        held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
        assert first.execute(text(held)).scalar_one() == 2


def test_server_ends_what_takes_too_long_and_lets_go_of_what_is_frozen(database: Database) -> None:
    with database.read() as connection:
        for name in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
            assert connection.execute(text(f"SHOW {name}")).scalar_one() != "0"
    with database.create() as connection:
        assert connection.execute(text("SHOW statement_timeout")).scalar_one() == "0", "migrations take their time"


def test_settings_of_the_url_win(postgres_url: str) -> None:
    engine = postgres.make_engine(
        f"{postgres_url}&application_name=attic", kept=1, most=1, statement_timeout_s=5.0, schema="dagster"
    )
    with engine.connect() as connection:
        assert connection.execute(text("SHOW application_name")).scalar_one() == "attic"
        assert connection.execute(text("SHOW statement_timeout")).scalar_one() == "5s"
        assert connection.execute(text("SHOW search_path")).scalar_one() == "dagster"
    engine.dispose()


def test_process_that_wants_too_many_connections_is_told_so(database: Database, monkeypatch) -> None:
    monkeypatch.setattr("ironclad_assets.ledger.postgres.LONGEST_WAIT_FOR_POOL_S", 0.1)
    held = [database.read() for _ in range(SERVER_MOST)]
    for one in held:
        one.__enter__()
    with pytest.raises(StorageUnavailable, match="connections of this process"), database.read():
        pass
    for one in held:
        one.__exit__(None, None, None)


def test_a_user_is_deleted_while_a_song_of_that_user_comes_in_and_is_begun(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Songs are locked before their user's turn is taken, also one that was not there yet when they were."""
    ledger = Ledger(postgres_url)
    ledger.migrate()
    add_song(ledger, 1)
    told: list[str] = []

    def measure() -> None:
        try:
            ledger.admission.measure("s2", duration_s=60.0)
        except IroncladError as error:
            told.append(error.code.code)

    late = threading.Thread(target=measure)

    def come_in(connection: Connection, user_id: str) -> None:
        is_first = late.ident is None
        if is_first:
            add_song(ledger, 2)
        take_user_turn(connection, user_id)
        if is_first:
            late.start()
            late.join(0.5)

    monkeypatch.setattr(condemn, "take_user_turn", come_in)
    ledger.deletions.request_user("ada", actor="test")
    late.join(30)
    assert told in ([], ["deleted"])
    assert [job.state for job in ledger.jobs()] == ["canceled", "canceled"]
    ledger.close()
