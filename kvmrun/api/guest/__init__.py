"""One guest or several: started, stopped, spoken to, waited for."""
