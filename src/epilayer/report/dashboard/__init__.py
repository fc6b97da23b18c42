"""The dashboard: a study's campaigns, jobs and results in a browser of this machine; read-only unless told.

:mod:`~epilayer.report.dashboard.app` holds the pages, :mod:`~epilayer.report.dashboard.guard` who may ask,
:mod:`~epilayer.report.dashboard.listing` the table of results, :mod:`~epilayer.report.dashboard.result` what
a page shows of one record, and :mod:`~epilayer.report.dashboard.desk` what the pages are shown from.
"""
