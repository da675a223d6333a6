"""Spoken digits and vowels: does a recurrent classifier know speakers, noise and words that it never heard?"""
