/** Starts every part of the page, each of which watches the state by itself. */

import { startAttach } from './attach';
import { startCamera } from './camera';
import { startCompare } from './compare';
import { startDevice } from './device';
import { startDrop } from './drop';
import { startForm } from './form';
import { startGallery } from './gallery';
import { startNotice } from './notice';
import { startOffline } from './offline';
import { startProgress } from './progress';
import { startRecord } from './record';
import { startSettings } from './settings';
import { startStage } from './stage';
import { startStored } from './stored';
import { findModel } from './studio';
import { startTheme } from './theme';
import { startWelcome } from './welcome';

startTheme();
startNotice();
startStage();
startProgress();
startWelcome();
startSettings();
startForm();
startAttach();
startCamera();
startRecord();
startDrop();
startCompare();
startDevice();
startStored();
startOffline();
void startGallery();
void findModel();
