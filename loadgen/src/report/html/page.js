document.querySelectorAll('figure').forEach(function(figure){
var rows=[].slice.call(figure.querySelectorAll('tr[data-x]'));if(!rows.length)return;
rows.sort(function(a,b){return a.dataset.x-b.dataset.x});
var plot=figure.querySelector('.plot'),tip,now=-1;
var heads=[].map.call(rows[0].closest('table').querySelectorAll('thead th'),function(h){return h.textContent});
function hide(){if(tip){tip.remove();tip=null}plot.querySelectorAll('.guide').forEach(function(g){g.remove()});now=-1}
function show(svg,index){hide();now=index=Math.max(0,Math.min(rows.length-1,index));
var e=svg.dataset.plot.split(' ').map(Number),x=e[0]+rows[index].dataset.x*(e[1]-e[0]);
var guide=document.createElementNS(svg.namespaceURI,'path');guide.setAttribute('class','guide');
guide.setAttribute('d','M'+x+' '+e[2]+'V'+e[3]);svg.appendChild(guide);
tip=document.createElement('div');tip.className='tip';tip.setAttribute('role','status');
[].forEach.call(rows[index].cells,function(cell,i){var line=document.createElement('div'),name=document.createElement('i');
name.textContent=heads[i];line.append(name,cell.textContent);tip.append(line)});plot.append(tip);
var left=x*svg.clientWidth/svg.viewBox.baseVal.width;
tip.style.left=Math.max(0,left+14+tip.offsetWidth>plot.clientWidth?left-14-tip.offsetWidth:left+14)+'px'}
plot.querySelectorAll('svg').forEach(function(svg){
var title=svg.querySelector('title');svg.setAttribute('aria-label',title.textContent);title.remove();svg.tabIndex=0;
svg.onpointermove=function(event){var box=svg.getBoundingClientRect(),e=svg.dataset.plot.split(' ').map(Number);
var at=((event.clientX-box.left)/box.width*svg.viewBox.baseVal.width-e[0])/(e[1]-e[0]),best=0;
rows.forEach(function(row,i){if(Math.abs(row.dataset.x-at)<Math.abs(rows[best].dataset.x-at))best=i});show(svg,best)};
svg.onpointerleave=svg.onblur=hide;
svg.onkeydown=function(event){var to={ArrowLeft:now-1,ArrowRight:now+1,Home:0,End:rows.length-1}[event.key];
if(event.key=='Escape')hide();if(to!==undefined){show(svg,to);event.preventDefault()}}})})
