class progress:
    def __init__(s,total,label): s.l=label; s.t=total
    def update(s,n,text=""): print(s.l,n,text)
