"""Pages made from the audit alone: one for a request, one for a period; self-contained HTML. No torch."""

from guardsteer.report.period import period_page
from guardsteer.report.request import request_page
from guardsteer.report.said import Said, read_said, read_tokenizer, said_of_kept

__all__ = ["Said", "period_page", "read_said", "read_tokenizer", "request_page", "said_of_kept"]
