"""Mask2Former without compiled extensions, with mmdet's parameter names and Rein's linked queries."""

from rein_core.mask2former.head import ReinMask2FormerHead, head_from_authors

__all__ = ["ReinMask2FormerHead", "head_from_authors"]
