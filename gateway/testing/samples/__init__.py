"""Whole objects of Stripe's, made up: every field by the table of `gateway.stripe.objects`, and what it cannot know by
the facts in this folder.
"""

from gateway.testing.samples.catalogue import UnknownScenarioError, scenarios
from gateway.testing.samples.maker import SampleObject, make_object, make_sample, make_thin_data
from gateway.testing.samples.urls import url_of

__all__ = [
    "SampleObject",
    "UnknownScenarioError",
    "make_object",
    "make_sample",
    "make_thin_data",
    "scenarios",
    "url_of",
]
