"""Reports: is a predictive calibrated, what is wrong, and a page that says so."""

from bayesrnn.report.calibration import calibration_report as calibration_report
from bayesrnn.report.exhibit import Exhibit as Exhibit
from bayesrnn.report.page import Page as Page
from bayesrnn.report.result import CalibrationReport as CalibrationReport

__all__ = ["CalibrationReport", "Exhibit", "Page", "calibration_report"]
