"""Sites that use clef_wsgi. They ship as ``clef_wsgi.examples``, so that the demo has one to serve."""
