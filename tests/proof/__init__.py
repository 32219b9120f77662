"""The harness that tries to catch us lying (docs/proof.md).

Real caches in tiers, a versioned origin, visitors who read all the time, callers who refresh and prefetch, and faults
from a seed. All that is seen goes into a recording; the checker reads nothing else, and shares no code with freshline.
"""
