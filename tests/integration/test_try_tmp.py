import time
from integration.market import *
from integration.fault_proxy import *
def test_x(kafka, catalog_server, spares):
    with FaultProxy(catalog_server.properties()) as proxy:
        t=time.time()
        with open_market(kafka,catalog_server,spares,proxy) as m:
            print("init",time.time()-t); t=time.time()
            w=m.start_reading(); print("reading",time.time()-t); t=time.time()
            f=Feed(m); f.send(2000,.01,.01,.01); print("send",time.time()-t, f.distinct,f.poisoned); t=time.time()
            print({s:f._routing.partition_of(s) for s in SYMBOLS})
            m.drain(w); print("drain",time.time()-t); t=time.time()
            print(m.judge(f.distinct)); print("judge",time.time()-t); t=time.time()
            print({p.name:proxy.hits(p) for p in Point})
            m.rewrite(); print("rewrite",time.time()-t); t=time.time()
            f.send(200,.01,.01,.01)
            m.drain(w); m.judge(f.distinct); print([s.operation for s in m.view().snapshots.values()])
            print(w.log()[-1500:])
            t=time.time()
            print(w.terminate(), time.time()-t)
