import difflib
class Bad(ValueError): pass
D=dict(dataset="digits",size=None,input_size=None,channels=None,normalise=None,test_share=0.2,noise=1.0,n_train=None,n_test=None,model="small_cnn",width=32,norm="group",activation="relu",patch=4,dim=64,depth=4,heads=4,label=None,
 clients=10,partition="iid",beta=None,min_size=10,val_share=0.2,forget="clients",targets=[0],forget_class=0,forget_share=0.1,joins=None,poison_share=0.8,poison_label=None,
 lr=0.001,momentum=0.9,weight_decay=5e-4,batch_size=64,local_epochs=1,optimizer="sgd",clip=None,flip=False,crop=0,keep_optimizer=False,schedule=None,
 rounds=10,unlearn_rounds=10,every=5,history="none",history_dtype="float32",history_limit_gb=20,training="fedavg",dtype="float32",device="auto",threads=1,cuda_graphs=True,mia_draws=10,methods={})
def complete(s): 
    return {**D,**s}
def nearest(name, known): return "nearest: "+str(difflib.get_close_matches(name, list(known),1))
