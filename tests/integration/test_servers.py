"""A filed song leaves a note for media servers, and waits for none of them."""

from pydantic import SecretStr

from ironclad_assets.contracts.v1.job import JobState
from ironclad_assets.servers.notes import last_entry
from ironclad_assets.servers.refresher import Refresher
from tests.fakes.media_servers import TOKEN, run_media_server
from tests.integration.conftest import Installation


def test_a_song_is_filed_while_its_server_hangs_and_the_server_hears_of_it_later(installation: Installation) -> None:
    with run_media_server() as fake:
        fake.mood = "silent"
        installation.settings = installation.settings.model_copy(
            update={"refresh_plex_url": fake.url, "refresh_plex_token": SecretStr(TOKEN), "refresh_timeout_s": 0.2}
        )
        job = installation.song()
        assert installation.dispatch(job).success
        assert installation.ledger.job(job.job_uuid).state is JobState.COMPLETED
        first = last_entry(installation.settings)
        assert first
        assert fake.asked == [], "the run itself talks to nobody"
        assert "did not answer" in Refresher(installation.settings).tick()
        fake.mood = "well"
        assert Refresher(installation.settings).tick() == "plex is up to date"
        assert fake.scans == 1
        assert installation.run(job.song, assets=["library_entry"]).success  # nothing new: it is reused
        assert last_entry(installation.settings) == first


def test_without_a_server_a_filed_song_leaves_no_note(installation: Installation) -> None:
    job = installation.song()
    assert installation.dispatch(job).success
    assert last_entry(installation.settings) == ""
