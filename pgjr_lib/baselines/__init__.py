"""Clusterings of a frozen prior's features that pGJR's head is compared with."""
