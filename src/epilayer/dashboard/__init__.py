"""The dashboard: a study's campaigns, jobs and results in a browser of this machine; read-only by default.

:mod:`~epilayer.dashboard.app` holds the pages, :mod:`~epilayer.dashboard.guard` who may ask,
:mod:`~epilayer.dashboard.listing` the table of results, :mod:`~epilayer.dashboard.result` what
a page shows of one record, and :mod:`~epilayer.dashboard.templating` how values are written.
"""
