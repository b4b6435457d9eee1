from __future__ import annotations

from fedward.audits.report.document import AuditReport
from fedward.audits.report.trust import trusted_parties


def test_everyone_is_named_once(body: AuditReport) -> None:
    who = [party.who for party in trusted_parties(body.study, body.run)]
    assert len(who) == len(set(who)) == 7
    assert body.trusted == trusted_parties(body.study, body.run, tried=True)
    assert "nobody else signed it" in body.trusted[-2].trusted_for
    assert "signed it" not in trusted_parties(body.study, body.run)[-2].trusted_for


def test_it_follows_the_study_and_the_run(body: AuditReport) -> None:
    def said(**changes: object) -> str:
        study = body.study.model_copy(
            update={
                name: value for name, value in changes.items() if name in {"trust", "colluding"}
            }
        )
        run = body.run.model_copy(
            update={
                name: value for name, value in changes.items() if name in {"masked", "simulated"}
            }
        )
        return " ".join(
            f"{party.who} {party.trusted_for} {party.otherwise}"
            for party in trusted_parties(study, run)
        )

    assert "All but 1:" in said()
    assert "All but 2:" in said(colluding=2)
    assert "all of them" in said(colluding=0)
    assert "each hospital adds all of the noise itself" in said(trust="none")
    assert "this run was not masked" in said(masked=False)
    assert "this run was not masked" not in said(masked=None)
    assert "One machine that played all hospitals" in said(simulated=True)
