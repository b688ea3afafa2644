"""The claims of the papers and our own, one function each, by the notebook that tests them; how they are judged and written."""
from . import ablations, after, audit, backdoor, centralized, client_unlearning, rivals, scenarios, theory, tis_reset, trim  # noqa: F401
from .verdicts import (CLAIMS, NOT_YET, VERDICTS, Untestable, claim, claim_texts, judge, merge_claims, save_claims,
                       show_claims)

__all__ = ["CLAIMS", "NOT_YET", "VERDICTS", "Untestable", "claim", "claim_texts", "judge", "merge_claims",
           "save_claims", "show_claims"]
