"""Evaluations as pages: one HTML file each, with its pictures in it, that asks no network for anything."""

from pipelines.html.comparison import comparison_page
from pipelines.html.contents import Domain, Picture
from pipelines.html.page import report_page

__all__ = ["Domain", "Picture", "comparison_page", "report_page"]
