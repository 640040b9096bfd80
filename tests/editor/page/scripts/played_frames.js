// The frames that Play shows within 1.6 seconds: [[frame, milliseconds], ...].
async () => {
const frames = [];
const counter = document.querySelector("#counter");
new MutationObserver(() => frames.push([parseInt(counter.textContent), performance.now()])).observe(counter, { childList: true });
document.querySelector("#play").click();
await new Promise((resolve) => setTimeout(resolve, 1600));
document.querySelector("#play").click();
return frames;
}
