"""Everything about one job: its state, its history, and what the analysis found out about its song."""

from rich.console import Console

from ironclad_assets.cli.analysis_show import analysis_document, analysis_text
from ironclad_assets.cli.installation import Installation
from ironclad_assets.cli.show import job_document, print_job, print_json
from ironclad_assets.contracts.v1.job import Job
from ironclad_assets.pipeline.analyse import read_analysis


def show_job(installation: Installation, job: Job, *, as_json: bool, console: Console) -> None:
    """Print the job as text, or as one JSON document."""
    history = installation.ledger.history(job.job_uuid)
    analysis = read_analysis(installation.store, job.song)
    if as_json:
        known = {} if analysis is None else {"analysis": analysis_document(analysis)}
        print_json({"job": job_document(job, history=history), **known})
    else:
        print_job(console, job, history=history, music="" if analysis is None else analysis_text(analysis))
