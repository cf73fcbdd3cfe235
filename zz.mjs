import {Worker,isMainThread,parentPort} from "node:worker_threads"; import {openDatabase} from "hive-gpu";
const mode=process.argv[2];
if(isMainThread){ for(let i=0;i<20;i++){const w=new Worker(new URL(import.meta.url),{argv:[mode]}); await new Promise(r=>w.once("message",r)); await new Promise(r=>setTimeout(r,i)); await w.terminate();} console.log("ok",mode);}
else { const DIM=96; const db=await openDatabase(); const c=await db.collection("w",{dimensions:DIM}); const v=new Float32Array(20000*DIM).map(()=>Math.random());
 if(mode!=="load0") await c.upsert({vectors:v,dimensions:DIM}); parentPort.postMessage("r");
 for(;;){ if(mode==="search") await Promise.all([c.search(v.subarray(0,DIM)),c.search(v.subarray(DIM,2*DIM))]); if(mode==="inline"){ await c.search(v.subarray(0,DIM)); await new Promise(setImmediate);} if(mode.startsWith("load")) await c.upsert({vectors:v.subarray(0,2000*DIM),dimensions:DIM}); if(mode==="idle") await new Promise(r=>setTimeout(r,1)); }
}
