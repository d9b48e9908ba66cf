"""The terms of the installation, and who accepted which version of them (EULA-001).

A song of somebody who has not accepted the current version is stored safely and its job held; the dispatcher
lets it go on once the acceptance is here. Which version is current is said by the settings.
"""

from sqlalchemy import Connection, insert, select
from sqlalchemy.sql.elements import ColumnElement

from ironclad_assets.contracts.v1.job import Job, JobError, JobState
from ironclad_assets.contracts.v1.limits import TermsAcceptance
from ironclad_assets.errors import ErrorCode, failure
from ironclad_assets.ledger.audit import write_audit
from ironclad_assets.ledger.changes import change_state
from ironclad_assets.ledger.database import Database
from ironclad_assets.ledger.rows import error_values, utc_now
from ironclad_assets.ledger.rules import Rules
from ironclad_assets.ledger.tables import terms_acceptances
from ironclad_assets.ledger.users import check_served, find_user, see_user, take_user_turn
from ironclad_assets.telemetry.request import current_request

ACTOR = "terms"


class Terms:
    """The acceptances of one ledger."""

    def __init__(self, database: Database, *, rules: Rules) -> None:
        self._database = database
        self._rules = rules

    @property
    def version(self) -> str | None:
        """The version that must be accepted now; None where there are no terms."""
        return self._rules.terms_version

    def accepted(self, user_id: str, version: str | None = None) -> bool:
        """Return whether the user accepted `version`, by default the current one; without terms always."""
        wanted = version or self.version
        if wanted is None:
            return True
        with self._database.read() as connection:
            return terms_accepted(connection, user_id, version=wanted)

    def require(self, user_id: str) -> None:
        """Raise unless the user accepted the current terms.

        Raises:
            TransientFailure: with `TERMS_REQUIRED`: the job waits, and goes on once they are accepted.
        """
        if not self.accepted(user_id):
            raise failure(ErrorCode.TERMS_REQUIRED, _missing(user_id, self.version))

    def accept(self, user_id: str, version: str, *, actor: str) -> TermsAcceptance:
        """Record that the user accepted `version`; the first acceptance of a version stands.

        Raises:
            Refusal: `UNKNOWN_USER` or `USER_DISABLED`.
        """
        values = {"user_id": user_id, "version": version, "at": utc_now(), "actor": actor}
        acceptance = TermsAcceptance(**values, request_id=current_request())
        with self._database.write() as connection:
            take_user_turn(connection, user_id)
            known = connection.execute(select(terms_acceptances).where(_this(user_id, version))).mappings().first()
            if known is not None:
                return TermsAcceptance(**known)
            check_served(find_user(connection, user_id), user_id, rules=self._rules)
            see_user(connection, user_id, rules=self._rules)
            connection.execute(insert(terms_acceptances).values(acceptance.model_dump()))
            write_audit(connection, "terms_accepted", user_id, actor=actor, detail=version)
            return acceptance

    def acceptances(self, user_id: str | None = None) -> list[TermsAcceptance]:
        """Return who accepted what, the latest first."""
        chosen = select(terms_acceptances).order_by(terms_acceptances.c.at.desc())
        if user_id is not None:
            chosen = chosen.where(terms_acceptances.c.user_id == user_id)
        with self._database.read() as connection:
            return [TermsAcceptance(**row) for row in connection.execute(chosen).mappings()]


def terms_accepted(connection: Connection, user_id: str, *, version: str | None) -> bool:
    """Return whether the user accepted `version`; None for no terms, which everybody has accepted."""
    if version is None:
        return True
    return connection.execute(select(terms_acceptances.c.at).where(_this(user_id, version))).first() is not None


def hold_for_terms(connection: Connection, job: Job, *, rules: Rules) -> Job:
    """Return the queued `job`, held if its user has not accepted the current terms."""
    if terms_accepted(connection, job.user_id, version=rules.terms_version):
        return job
    code = ErrorCode.TERMS_REQUIRED
    error = JobError(code=code.code, detail=_missing(job.user_id, rules.terms_version), remedy=code.facts.remedy)
    detail = f"{error.code}: {error.detail}"
    return change_state(connection, job, to=JobState.HELD, actor=ACTOR, values=error_values(error), detail=detail)


def _missing(user_id: str, version: str | None) -> str:
    return f"user {user_id!r} has not accepted version {version} of the terms"


def _this(user_id: str, version: str) -> ColumnElement[bool]:
    return (terms_acceptances.c.user_id == user_id) & (terms_acceptances.c.version == version)
