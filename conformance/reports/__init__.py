"""The forms of a report: text for a terminal, JSON, JUnit's XML, and one page of HTML.

Each form is made by one function of a `Report`; `Report` imports it when it is asked for.
"""
