"""Who is trusted with what: the assumptions under which a report's numbers hold."""

from __future__ import annotations

from fedward.audits.report.document import RunFacts, StudyFacts, Trusted


def trusted_parties(
    study: StudyFacts, run: RunFacts, *, tried: bool = False
) -> tuple[Trusted, ...]:
    """Everyone that the guarantee relies on, those with most to lose first.

    ``tried`` says whether the report tells of an empirical audit or of attacks.
    """
    return (
        *_hospitals(study, run),
        Trusted(
            who="The coordinator",
            trusted_for="With no secret. It may keep every message, choose any model, and ask as "
            "often as the budget allows."
            if run.masked is not False
            else "With each hospital's own part of every sum, because this run was not masked; "
            "epsilon alone is the number against it.",
            otherwise="It can stop the study or spoil the model. It cannot learn more about a "
            "patient than epsilon says, and what it leaves out of its log is found in the "
            "hospitals' ledgers.",
        ),
        Trusted(
            who="Whoever wrote the study",
            trusted_for="With ranges, sizes and settings that were chosen without looking at the "
            "patients.",
            otherwise="What was read off real patients on the way to the study is in none of these "
            "numbers.",
        ),
        Trusted(
            who="Whoever holds the federation key",
            trusted_for="With saying which keys belong to which hospital.",
            otherwise="Signatures could be those of others. Each hospital also keeps the keys of "
            "the hospitals that it knows.",
        ),
        Trusted(
            who="The auditor",
            trusted_for="With having read the files that are listed under evidence."
            + (
                " And with having measured and attacked what this page tells of: what meters, "
                "lower bounds and attacks showed is the auditor's word, and nobody else signed it."
                if tried
                else ""
            ),
            otherwise="Whoever has those files can make this report again and compare, by "
            "fedward audit verify with --run."
            + (
                " Meters, lower bounds and attacks are not run again by that; anyone who has the "
                "study can do so, by fedward audit empirical and fedward audit attack."
                if tried
                else ""
            ),
        ),
        Trusted(
            who="Mathematics and the machines",
            trusted_for="With the accountants' formulas, Ed25519, X25519, AES and SHA-256, and "
            "random numbers from each hospital's operating system.",
            otherwise="If X25519 or AES were broken, masks could be taken off, and epsilon alone "
            "would be the number: it rests on noise alone. Without secret random numbers nothing "
            "on this page would hold.",
        ),
    )


def _hospitals(study: StudyFacts, run: RunFacts) -> tuple[Trusted, ...]:
    own = Trusted(
        who="Each hospital, with its own patients",
        trusted_for="With everything: it has the records. That its installed software is the one "
        "named below, that its key and ledger are its own, and that it counts each patient once.",
        otherwise="A hospital that runs other software can release anything about its own "
        "patients, and its ledger would not show it.",
    )
    if run.simulated:
        own = own.model_copy(
            update={
                "who": "One machine that played all hospitals",
                "otherwise": "This run was a simulation: one process held all records and all "
                "keys. The page shows what the books of a real run would show.",
            }
        )
    if study.trust == "none":
        others = Trusted(
            who="The other hospitals",
            trusted_for="With nothing: each hospital adds all of the noise itself.",
            otherwise="A hospital can spoil the model. It learns what the sums say and no more.",
        )
    else:
        few = (
            "With keeping their secrets, all of them."
            if study.colluding == 0
            else f"All but {study.colluding}: that they add their share of the noise and keep it "
            "and their keys to themselves."
        )
        others = Trusted(
            who="The other hospitals",
            trusted_for=few,
            otherwise="If more of them tell their secrets, epsilon no longer holds. Epsilon alone "
            "still does: it counts a hospital's own noise and nobody else's.",
        )
    return own, others
