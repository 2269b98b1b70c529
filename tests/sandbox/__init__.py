"""Tests of the pretend world itself: is it as strict as the real one?"""
