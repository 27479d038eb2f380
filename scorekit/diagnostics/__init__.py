"""What a run did (`RecordRun`), and how far a score may be trusted (`diagnose`)."""

from scorekit.diagnostics.runs import LevelRecord, RecordRun
from scorekit.diagnostics.trust import LevelTrust, TrustReport, diagnose

__all__ = ["LevelRecord", "LevelTrust", "RecordRun", "TrustReport", "diagnose"]
